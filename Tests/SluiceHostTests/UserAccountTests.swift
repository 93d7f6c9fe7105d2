import Glibc
import SluiceCore
import Synchronization
import Testing

@testable import SluiceHost

@Suite struct UserAccountTests {
  @Test("Users are found by their names, whoever else looks for others at the same time")
  func threads() throws {
    let names = ["root", "daemon", "bin", "nobody"]
    let wanted = try names.map { name in
      let entry = try #require(getpwnam(name))
      return (entry.pointee.pw_uid, entry.pointee.pw_gid)
    }
    let wrong = Atomic<Int>(0)
    let threads = names.indices.map { index in
      OSThread(name: "looks") {
        for _ in 0..<200 {
          let account = UserAccount(named: names[index])
          if account?.user != wanted[index].0 || account?.group != wanted[index].1 {
            wrong.wrappingAdd(1, ordering: .relaxed)
          }
        }
      }
    }
    for thread in threads { thread.join() }
    #expect(wrong.load(ordering: .relaxed) == 0)
    #expect(UserAccount(named: "nobody of that name") == nil && UserAccount(named: "") == nil)
  }
}
