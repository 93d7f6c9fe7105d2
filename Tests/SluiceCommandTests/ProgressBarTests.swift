import SluiceCore
import Testing

@testable import sluice

@Suite("The progress bar")
struct ProgressBarTests {
  private final class Screen {
    var text = ""
  }

  @Test("is not there in the first second, then is written over, and is gone at the end")
  func life() {
    let screen = Screen()
    var bar = ProgressBar("verify", unit: .bytes, isShown: true, now: 0) { screen.text += $0 }
    bar.update(1 << 20, of: 10 << 20, now: 900_000_000)
    bar.clear()
    #expect(screen.text.isEmpty)
    bar.update(2 << 20, of: 10 << 20, now: 1_000_000_000)
    bar.update(2 << 20, of: 10 << 20, now: 1_010_000_000)
    #expect(screen.text.hasPrefix("\r\u{1B}[Kverify") && !screen.text.dropFirst(4).contains("\r"))
    bar.clear()
    #expect(screen.text.hasSuffix("\r\u{1B}[K"))
  }

  @Test("writes nothing where nobody looks")
  func notShown() {
    let screen = Screen()
    var bar = ProgressBar("verify", unit: .bytes, isShown: false, now: 0) { screen.text += $0 }
    bar.update(1, of: 2, now: 60_000_000_000)
    bar.clear()
    #expect(screen.text.isEmpty)
  }

  @Test("tells the part, the rate and the time left in as many columns as there are")
  func line() {
    let line = ProgressBar.line(
      "verify", .bytes, done: 512 << 20, total: 2 << 30, elapsed: 2_000_000_000, width: 100)
    #expect(line.hasPrefix("verify  [==") && line.contains(">"))
    #expect(line.hasSuffix("25 %  512.0 MiB of 2.0 GiB  256.0 MiB/s  6 s left"))
    for width in [5, 20, 40, 60, 79, 200] {
      for (done, total) in [(0, 0), (0, 7), (7, 7), (9, 7), (1 << 40, 1 << 41)] {
        let line = ProgressBar.line("x", .things("records"), done: done, total: total, elapsed: 0, width: width)
        #expect(line.count <= width)
      }
    }
    #expect(
      ProgressBar.line("x", .things("records"), done: 10, total: nil, elapsed: 2_000_000_000, width: 79)
        == "x  10 records  5 records/s")
  }

  @Test("times are said as people say them", arguments: [(0.2, "1 s"), (125, "2 min 5 s"), (12_000, "3 h 20 min")])
  func spans(seconds: Double, text: String) {
    #expect(ProgressBar.span(seconds) == text)
  }
}
