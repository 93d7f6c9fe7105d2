import Glibc

/// Compressed bodies, made by the libraries that most clients use.
package enum Compression {
  /// One member of gzip (RFC 1952).
  package static func gzip(_ bytes: [UInt8], level: Int32 = 6) -> [UInt8] {
    typealias Compress =
      @convention(c) (
        UnsafeMutablePointer<UInt8>, UnsafeMutablePointer<UInt>, UnsafePointer<UInt8>, UInt, Int32
      ) -> Int32
    typealias Checksum = @convention(c) (UInt, UnsafePointer<UInt8>?, UInt32) -> UInt
    let compress = function("libz.so.1", "compress2", as: Compress.self)
    let checksum = function("libz.so.1", "crc32", as: Checksum.self)
    var deflated = [UInt8](repeating: 0, count: bytes.count + bytes.count / 1000 + 64)
    var count = UInt(deflated.count)
    precondition(compress(&deflated, &count, bytes, UInt(bytes.count), level) == 0)
    // zlib's own frame is 2 bytes in front and 4 behind.
    let raw = deflated[2..<Int(count) - 4]
    return gzipHeader + raw + little(UInt32(checksum(0, bytes, UInt32(bytes.count)))) + little(UInt32(bytes.count))
  }

  package static let gzipHeader: [UInt8] = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF]

  /// One frame of zstd (RFC 8878).
  package static func zstd(_ bytes: [UInt8], level: Int32 = 3) -> [UInt8] {
    typealias Compress =
      @convention(c) (
        UnsafeMutablePointer<UInt8>, Int, UnsafePointer<UInt8>, Int, Int32
      ) -> Int
    let compress = function("libzstd.so.1", "ZSTD_compress", as: Compress.self)
    var frame = [UInt8](repeating: 0, count: bytes.count + bytes.count / 128 + 256)
    let count = compress(&frame, frame.count, bytes, bytes.count, level)
    precondition(count > 0 && count <= frame.count)
    return Array(frame[..<count])
  }

  package static func little(_ value: UInt32) -> [UInt8] {
    (0..<4).map { UInt8(truncatingIfNeeded: value >> UInt32(8 * $0)) }
  }

  private static func function<Function>(_ library: String, _ name: String, as type: Function.Type) -> Function {
    guard let handle = dlopen(library, RTLD_NOW | RTLD_LOCAL), let address = dlsym(handle, name) else {
      preconditionFailure("\(name) of \(library) is not here; scripts/setup installs it")
    }
    return unsafeBitCast(address, to: type)
  }
}
