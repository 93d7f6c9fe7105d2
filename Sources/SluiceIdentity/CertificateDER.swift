/// The certificate that an identity is tied to, as a file has it.
package enum CertificateDER {
  /// The DER of a file that is DER, or has a certificate in PEM; the first counts. Nil if it is neither.
  package static func of(_ file: [UInt8]) -> [UInt8]? {
    // A SEQUENCE with a long length: what every certificate begins with.
    if file.count > 4, file[0] == 0x30, file[1] & 0x80 != 0 { return file }
    let lines = String(decoding: file, as: UTF8.self).split(whereSeparator: \.isNewline)
    guard let begin = lines.firstIndex(of: "-----BEGIN CERTIFICATE-----"),
      let end = lines[begin...].firstIndex(of: "-----END CERTIFICATE-----")
    else { return nil }
    let characters = lines[(begin + 1)..<end].joined().utf8.filter { $0 != UInt8(ascii: "=") }
    // The same bits in the other alphabet.
    return Base64URL.bytes(
      characters.map { $0 == UInt8(ascii: "+") ? UInt8(ascii: "-") : $0 == UInt8(ascii: "/") ? UInt8(ascii: "_") : $0 })
  }
}
