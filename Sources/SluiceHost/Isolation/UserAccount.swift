import Glibc
import SluiceCore

/// Who a plugin's process may be run as. Found without the C library's one buffer for all threads.
package struct UserAccount: Equatable, Sendable {
  package let user: uid_t
  package let group: gid_t

  /// Nil: there is no user of that name.
  package init?(named name: String) {
    var entry = passwd()
    var size = Limits.minUserEntryBytes
    while size <= Limits.maxUserEntryBytes {
      var found: UnsafeMutablePointer<passwd>?
      let code = withUnsafeTemporaryAllocation(of: CChar.self, capacity: size) { buffer in
        getpwnam_r(name, &entry, buffer.baseAddress!, buffer.count, &found)
      }
      guard code == ERANGE else {
        guard found != nil else { return nil }
        (user, group) = (entry.pw_uid, entry.pw_gid)
        return
      }
      size *= 2
    }
    return nil
  }
}
