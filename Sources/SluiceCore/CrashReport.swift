internal import CSluiceSystem
import Glibc

/// What is said when the process ends for a fault: whose code it probably was.
package enum CrashReport {
  /// Signals of faults are told before they go on to whoever handled them before.
  package static func install() { _ = csluice_report_crashes() }

  /// Lets the calling thread tell of it when its stack is used up, until it ends. Where there is no memory for that, it can't.
  package static func prepareThread() { _ = csluice_give_signal_stack(Limits.signalStackBytes) }

  /// For the calling thread, for as long as it lives.
  package static func noteThread(_ text: String) { csluice_note_for_crash(kept(text)) }

  /// For threads that have none of their own.
  package static func noteProcess(_ text: String) { csluice_summary_for_crash(kept(text)) }

  /// A handler may read it at any moment, so it is never freed.
  private static func kept(_ text: String) -> UnsafePointer<CChar>? { strdup(text).map { UnsafePointer($0) } }
}
