import CSluice
import Foundation
import PluginTestSupport
import SluiceCore
import StdoutSubscriber
import Synchronization
import TestSupport
import Testing

/// Reads on a thread of its own until the end; `text` waits for it.
private final class Reader: Sendable {
  private let bytes = Mutex<[UInt8]>([])
  private let done = DispatchSemaphore(value: 0)

  init(_ descriptor: Int32, pieces: Int) {
    Thread.detachNewThread {
      var buffer = [UInt8](repeating: 0, count: pieces)
      while true {
        let count = read(descriptor, &buffer, pieces)
        guard count > 0 else { break }
        self.bytes.withLock { $0 += buffer[..<count] }
      }
      self.done.signal()
    }
  }

  var text: String {
    _ = done.wait(timeout: .now() + 60)
    return bytes.withLock { String(decoding: $0, as: UTF8.self) }
  }
}

@Suite struct StdoutTests {
  @Test func recordsBecomeLinesAsInTheDiskSubscribersFiles() {
    let directory = TemporaryDirectory()
    let path = directory.path + "/out"
    let file = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0o600)
    let output = Output(to: file)
    #expect(output.instance.start() == SLU_OK)
    let records: [FakeBatch.Record] = [.init("{\"a\":\n1}"), .init("plain")]
    #expect(output.instance.deliver(FakeBatch(records, firstLSN: 17)) == SLU_OK)
    #expect(
      text(of: path) == "{\"a\": 1}\n" + "{\"time\":\"2023-11-14T22:13:20.123456789Z\",\"source\":\"api\","
        + "\"topic\":\"web\",\"lsn\":18,\"message\":\"plain\"}\n")
    #expect(output.host.record.metricValues == [Double(contents(of: path)?.count ?? -1)])
    output.end()
    close(file)
  }

  @Test func rawPayloadsAreLinesAsTheyAre() {
    let directory = TemporaryDirectory()
    let file = open(directory.path + "/out", O_CREAT | O_WRONLY | O_CLOEXEC, 0o600)
    let output = Output(to: file, #"{"format":"raw"}"#)
    #expect(output.instance.deliver(FakeBatch(["plain", "{\"a\":\n1}", ""])) == SLU_OK)
    #expect(text(of: directory.path + "/out") == "plain\n{\"a\":\n1}\n\n")
    output.end()
    close(file)
  }

  @Test("A reader as slow as it likes gets every byte, whether the pipe blocks or not", arguments: [false, true])
  func slowReaders(nonBlocking: Bool) {
    let pipe = SmallPipe()
    if nonBlocking { _ = fcntl(pipe.writer, F_SETFL, O_NONBLOCK) }
    let reader = Reader(pipe.reader, pieces: 777)
    let output = Output(to: pipe.writer)
    let payloads = (0..<3000).map { "{\"n\":\($0)}" } + ["{\"m\":\"\(String(repeating: "x", count: 2 << 20))\"}", "{}"]
    #expect(output.instance.start() == SLU_OK && output.instance.deliver(FakeBatch(payloads)) == SLU_OK)
    output.end()
    pipe.closeWriter()
    #expect(reader.text == payloads.joined(separator: "\n") + "\n")
  }

  @Test func anInterruptEndsTheWaitForAReaderAndTheLineThatWasCutOffIsEnded() {
    let pipe = SmallPipe()
    let output = Output(to: pipe.writer)
    let long = "{\"m\":\"\(String(repeating: "x", count: 9000))\"}"
    // Comes before the wait, and ends it all the same.
    output.instance.interrupt()
    #expect(output.instance.deliver(FakeBatch([long])) == SLU_E_TIMEOUT)
    nonisolated(unsafe) let instance = output.instance
    let answer = DispatchSemaphore(value: 0)
    let code = Mutex<slu_rc>(0)
    Thread.detachNewThread {
      let rc = instance.deliver(FakeBatch([long]))
      code.withLock { $0 = rc }
      answer.signal()
    }
    // The pipe is full when the subscriber waits in the middle of the line.
    var filled: Int32 = 0
    while filled < 4096 {
      _ = ioctl(pipe.reader, UInt(FIONREAD), &filled)
      _ = poll(nil, 0, 1)
    }
    output.instance.interrupt()
    #expect(answer.wait(timeout: .now() + 60) == .success && code.withLock { $0 } == SLU_E_TIMEOUT)
    #expect(output.host.record.health.last == SLU_HEALTH_DOWN)
    let reader = Reader(pipe.reader, pieces: 4096)
    #expect(output.instance.deliver(FakeBatch([long])) == SLU_OK)
    #expect(output.host.record.health.last == SLU_HEALTH_OK)
    output.end()
    pipe.closeWriter()
    #expect(reader.text == long.prefix(4096) + "\n" + long + "\n")
  }

  @Test func aReaderThatIsGoneIsSaidToBeGone() throws {
    let ends = try #require(LinuxCalls.pipe())
    let output = Output(to: ends.write)
    close(ends.read)
    #expect(output.instance.start() == SLU_OK && output.instance.deliver(FakeBatch(["{}"])) == SLU_E_RETRYABLE)
    #expect(
      output.instance.error
        == "cannot write to standard output: Broken pipe. Whoever read it is gone: start the daemon "
        + "again with a reader, or remove this subscriber.")
    output.end()
    close(ends.write)
  }

  @Test func aStandardOutputThatIsClosedIsSaidToBeClosed() {
    let output = Output(to: 987_654)
    #expect(output.instance.start() == SLU_E_RETRYABLE)
    #expect(output.instance.error.hasPrefix("standard output is closed"))
    output.end()
  }

  @Test func theSharedObjectExportsOneSymbolAndDescribesTheKind() throws {
    let library = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
      .appendingPathComponent("libsluice-stdout.so").path
    let symbols = try Command.run(["nm", "-D", "--defined-only", "--extern-only", library])
    #expect(symbols.output.split(separator: "\n").map { $0.split(separator: " ").last } == ["sluice_module_v1"])
    let module = try #require(loadModule(library)?.pointee)
    #expect(try #require(module.subscribers[0]).pointee.kind.string == "stdout")
  }
}
