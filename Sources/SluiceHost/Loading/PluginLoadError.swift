/// Why a plugin was not loaded: what is wrong, with which file and field, and what to do about it.
package struct PluginLoadError: Error, Equatable, Sendable, CustomStringConvertible {
  package enum Code: String, Sendable {
    case notFound, untrusted, unreadable, noExec, notLoadable, noEntry, otherVersion, refused, badTable, tooNew
    case wrongKind
    /// To put its copy.
    case noPlace
    /// It must not be in the daemon's process.
    case notShareable
  }

  package var code: Code
  package var message: String
  package var remedy: String

  package init(_ code: Code, _ message: String, remedy: String) {
    self.code = code
    self.message = message
    self.remedy = remedy
  }

  package var description: String { remedy.isEmpty ? message : "\(message); \(remedy)" }
}
