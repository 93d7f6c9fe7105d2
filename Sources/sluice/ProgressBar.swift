import Glibc
import SluiceCore

/// How far a command is, on a line of the terminal that is written over and over: only where somebody looks (the standard
/// error is a terminal), only for what takes more than a second, and gone when the work is done.
///
///     verify  [=============>                ]  45 %  1.2 GiB of 2.7 GiB  512 MiB/s  3 s left
///
/// One thread's own. `update` costs a clock's reading until there is something to draw.
struct ProgressBar {
  enum Unit: Sendable {
    case bytes
    /// Things that are counted, by the name of many.
    case things(String)
  }

  private let title: String
  private let unit: Unit
  private let isShown: Bool
  private let write: (String) -> Void
  private let began: Int64
  private var drawnAt: Int64
  private var isDrawn = false

  /// `isShown`: false for a command that was asked for JSON.
  init(_ title: String, unit: Unit, isShown: Bool = true) {
    self.init(
      title, unit: unit, isShown: isShown && StandardError.isTerminal, now: Clock.monotonic(),
      write: StandardError.write)
  }

  init(_ title: String, unit: Unit, isShown: Bool, now: Int64, write: @escaping (String) -> Void) {
    self.title = title
    self.unit = unit
    self.isShown = isShown
    self.write = write
    began = now
    // Nothing is drawn in the first second.
    drawnAt = now + Limits.progressQuietNanoseconds - Limits.progressNanoseconds
  }

  /// `total`: nil when nobody knows; it may change on the way.
  mutating func update(_ done: Int, of total: Int?, now: Int64 = Clock.monotonic()) {
    guard isShown, now - drawnAt >= Limits.progressNanoseconds else { return }
    drawnAt = now
    isDrawn = true
    write("\r\u{1B}[K" + Self.line(title, unit, done: done, total: total, elapsed: now - began, width: Self.columns))
  }

  /// Takes the line off, so that what is printed next stands alone. More updates may follow.
  mutating func clear() {
    if isDrawn { write("\r\u{1B}[K") }
    isDrawn = false
  }

  // MARK: The line

  /// No longer than `width`: a line that wraps can't be written over.
  static func line(_ title: String, _ unit: Unit, done: Int, total: Int?, elapsed: Int64, width: Int) -> String {
    let seconds = max(Double(elapsed) / 1e9, 0.001)
    let rate = Double(done) / seconds
    var parts = [amount(done, unit) + (total.map { " of " + amount($0, unit) } ?? "")]
    parts.append(amount(Int(rate), unit) + "/s")
    var head = title
    if let total, total > 0 {
      let part = min(1, Double(done) / Double(total))
      if rate > 0, done < total { parts.append(span(Double(total - done) / rate) + " left") }
      let percent = "\(Int(part * 100))"
      let figures = String(repeating: " ", count: 3 - percent.count) + percent + " %"
      // The bar takes what the rest leaves it, and is left out where that is next to nothing.
      let room = width - ([title, figures] + parts).reduce(0) { $0 + $1.count + 2 } - 3
      if room >= 10 { head += "  [" + bar(part, min(room, 40)) + "]" }
      head += "  " + figures
    }
    return String(([head] + parts).joined(separator: "  ").prefix(width))
  }

  private static func bar(_ part: Double, _ width: Int) -> String {
    let full = Int(part * Double(width))
    guard full < width else { return String(repeating: "=", count: width) }
    return String(repeating: "=", count: full) + ">" + String(repeating: " ", count: width - full - 1)
  }

  static func amount(_ count: Int, _ unit: Unit) -> String {
    switch unit {
    case .bytes: DataSize.text(count)
    case .things(let name): "\(count) \(name)"
    }
  }

  /// "4 s", "2 min 5 s", "3 h 20 min".
  static func span(_ seconds: Double) -> String {
    let whole = Int(min(seconds, 1e9).rounded(.up))
    switch whole {
    case ..<60: return "\(whole) s"
    case ..<3600: return "\(whole / 60) min \(whole % 60) s"
    default: return "\(whole / 3600) h \(whole % 3600 / 60) min"
    }
  }

  private static var columns: Int {
    var size = winsize()
    guard ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 79 }
    // The last column is left free: a terminal may wrap there.
    return Int(size.ws_col) - 1
  }
}

/// "512 B", "1.5 KiB", "64.0 MiB", "2.3 GiB".
enum DataSize {
  static func text(_ count: Int) -> String {
    for (unit, size) in [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] where count >= size {
      return "\((Double(count) / Double(size) * 10).rounded() / 10) \(unit)"
    }
    return "\(count) B"
  }
}
