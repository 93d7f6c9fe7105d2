import ArgumentParser
import Testing

@testable import sluice

@Suite struct SendTargetTests {
  @Test(
    "This machine is localhost and an address of the loopback that is written out, and no name that looks like one",
    arguments: [
      ("localhost", true), ("LOCALHOST", true), ("127.0.0.1", true), ("127.8.9.10", true), ("::1", true),
      ("0:0:0:0:0:0:0:1", true), ("127.evil.com", false), ("127.0.0.1.evil.com", false), ("127.1", false),
      ("::2", false),
      ("::", false), ("0.0.0.0", false), ("128.0.0.1", false), ("localhost.evil.com", false), ("", false),
    ])
  func thisMachine(host: String, isIt: Bool) {
    #expect(SendTarget.isThisMachine(host) == isIt)
  }

  @Test(
    "A token is not sent over HTTP in the clear to another machine, wherever it comes from",
    arguments: [
      ("http://example.com", false), ("127.evil.com:8080", false), ("http://127.0.0.1:8080", true),
      ("http://[::1]", true),
      ("localhost", true), ("https://example.com", true),
    ])
  func tokenInTheClear(url: String, isTaken: Bool) throws {
    for option in [["--token", "slu1_x"], ["--token-file", "x.token"]] {
      let arguments = ["--http", url, "--count", "1"] + option
      if isTaken {
        _ = try Send.parse(arguments)
      } else {
        #expect(throws: (any Error).self) { _ = try Send.parse(arguments) }
      }
    }
    _ = try Send.parse(["--http", url, "--count", "1"])
  }
}
