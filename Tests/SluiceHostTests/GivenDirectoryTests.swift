import Glibc
import Testing

@testable import SluiceHost

/// What a process of another user gets of the daemon's files: its state directory, and nothing besides.
@Suite(.enabled(if: geteuid() == 0, "only root can give files away")) struct GivenDirectoryTests {
  private static let user: uid_t = 65_534
  private let home = TemporaryDirectory()

  private func owner(_ path: String) -> uid_t {
    var about = stat()
    return lstat("\(home.path)/\(path)", &about) == 0 ? about.st_uid : .max
  }

  private func give() { Paths.give("\(home.path)/state", to: Self.user, Self.user) }

  @Test("A directory is given with all that lies in it; links are given, not followed")
  func tree() {
    _ = home.folder("state/a/b")
    _ = home.folder("outside")
    Files.write("", to: "\(home.path)/state/a/b/file")
    Files.write("", to: "\(home.path)/outside/file")
    #expect(symlink("\(home.path)/outside", "\(home.path)/state/a/link") == 0)
    give()
    for path in ["state", "state/a", "state/a/b", "state/a/b/file", "state/a/link"] {
      #expect(owner(path) == Self.user, "\(path)")
    }
    #expect(owner("outside") == 0 && owner("outside/file") == 0)
  }

  @Test("A file that has another name elsewhere is not given away")
  func hardLink() {
    _ = home.folder("state")
    Files.write("", to: "\(home.path)/outside")
    #expect(link("\(home.path)/outside", "\(home.path)/state/link") == 0)
    give()
    #expect(owner("state") == Self.user && owner("outside") == 0)
  }

  @Test("What lies in a directory that is that user's already is left as it is")
  func ofTheUser() {
    _ = home.folder("state/a")
    give()
    Files.write("", to: "\(home.path)/state/file")
    give()
    #expect(owner("state/a") == Self.user && owner("state/file") == 0)
  }
}
