/// Says how an instance fares, and says that it is well only after it was not.
///
///     do { try write(batch) } catch {
///       health.say(.down, "\(error)")
///       throw error
///     }
///     health.say(.ok)
public struct HealthReport {
  private let host: Host
  /// What was said last.
  public private(set) var last = Host.Health.ok

  /// A report of an instance that is well, as each is when it begins.
  public init(_ host: Host) { self.host = host }

  /// Says how it fares now.
  public mutating func say(_ health: Host.Health, _ why: String = "") {
    if health != .ok || last != .ok { host.setHealth(health, why) }
    last = health
  }
}
