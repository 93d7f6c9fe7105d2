import Glibc

/// What a plugin can change of the process that it is in. Two of these say what happened in between.
struct ProcessSnapshot {
  /// An open descriptor, as far as it tells what it is good for.
  struct Descriptor: Equatable {
    var target: String
    var isWritable: Bool
    /// A socket with a far side that has an address.
    var isConnected: Bool
  }

  /// Their names, by what the kernel calls them.
  var threads: [String: String]
  var descriptors: [Int32: Descriptor]
  private var environment: [String]
  private var directory: String
  private var locale: String
  private var fileMask: mode_t
  private var actions: [UInt]
  private var signalMask: [Bool]

  /// Of the calling thread's process. Threads and descriptors first: the rest takes some itself.
  init() {
    threads = ProcessSnapshot.threadNames()
    descriptors = ProcessSnapshot.openDescriptors()
    environment = ProcessSnapshot.variables()
    directory =
      getcwd(nil, 0).map { path in
        defer { free(path) }
        return String(cString: path)
      } ?? ""
    locale = setlocale(LC_ALL, nil).map { String(cString: $0) } ?? ""
    fileMask = umask(0)
    umask(fileMask)
    actions = ProcessSnapshot.signals.map { signal in
      var action = sigaction()
      sigaction(signal, nil, &action)
      return unsafeBitCast(action.__sigaction_handler, to: UInt.self)
    }
    var mask = sigset_t()
    pthread_sigmask(SIG_BLOCK, nil, &mask)
    signalMask = ProcessSnapshot.signals.map { sigismember(&mask, $0) == 1 }
  }

  /// All that programs may handle, but for those that the C library keeps to itself.
  private static let signals = (1...Int32(31)).filter { $0 != SIGKILL && $0 != SIGSTOP }

  private static func variables() -> [String] {
    var all: [String] = []
    var entry = environ
    while let text = entry.pointee {
      all.append(String(cString: text))
      entry += 1
    }
    return all.sorted()
  }

  private static func openDescriptors() -> [Int32: Descriptor] {
    var all: [Int32: Descriptor] = [:]
    for name in Paths.entries(of: "/proc/self/fd") {
      guard let number = Int32(name) else { continue }
      let flags = fcntl(number, F_GETFL)
      // The one that the folder itself was read with is closed again.
      guard flags >= 0 else { continue }
      var target = [CChar](repeating: 0, count: Int(PATH_MAX))
      let count = readlink("/proc/self/fd/\(name)", &target, target.count - 1)
      all[number] = Descriptor(
        target: String(decoding: target.prefix(max(0, count)).map { UInt8(bitPattern: $0) }, as: UTF8.self),
        isWritable: flags & O_ACCMODE != O_RDONLY, isConnected: isConnected(number))
    }
    return all
  }

  private static func isConnected(_ descriptor: Int32) -> Bool {
    var address = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    let isNamed = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { getpeername(descriptor, $0, &length) == 0 }
    }
    // A pair of sockets of the process's own has no name.
    return isNamed && length > socklen_t(MemoryLayout<sa_family_t>.size)
  }

  private static func threadNames() -> [String: String] {
    var all: [String: String] = [:]
    for thread in Paths.entries(of: "/proc/self/task") {
      // One that ends meanwhile was there all the same.
      all[thread] = "without a name"
      guard let file = fopen("/proc/self/task/\(thread)/comm", "r") else { continue }
      defer { fclose(file) }
      var line = [CChar](repeating: 0, count: 64)
      guard fgets(&line, Int32(line.count), file) != nil else { continue }
      all[thread] = String(decoding: line.prefix { $0 != 0 && $0 != 10 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
    return all
  }

  /// The names of threads that are there now and were not in `before`.
  func newThreads(since before: ProcessSnapshot) -> [String] {
    threads.filter { before.threads[$0.key] == nil }.map(\.value).sorted()
  }

  func newDescriptors(since before: ProcessSnapshot) -> [Descriptor] {
    descriptors.sorted { $0.key < $1.key }.filter { before.descriptors[$0.key] != $0.value }.map(\.value)
  }

  /// What else is different, each with what it was and is.
  func changes(since before: ProcessSnapshot) -> [String] {
    var all: [String] = []
    for (index, signal) in ProcessSnapshot.signals.enumerated() where actions[index] != before.actions[index] {
      all.append("it changed the handler of signal \(signal)")
    }
    if signalMask != before.signalMask { all.append("it changed the thread's signal mask") }
    if locale != before.locale { all.append("it changed the locale to \(locale)") }
    if directory != before.directory { all.append("it changed the working directory to \(directory)") }
    if fileMask != before.fileMask { all.append("it changed the umask to 0\(String(fileMask, radix: 8))") }
    let names = Set(environment).symmetricDifference(before.environment).map { $0.prefix { $0 != "=" } }
    if !names.isEmpty { all.append("it changed the environment: \(Set(names).sorted().joined(separator: ", "))") }
    return all
  }

  /// All differences: threads, descriptors and the rest.
  func differences(since before: ProcessSnapshot) -> [String] {
    var all: [String] = []
    let threads = newThreads(since: before)
    if !threads.isEmpty { all.append("it started threads: \(threads.joined(separator: ", "))") }
    let opened = newDescriptors(since: before)
    if !opened.isEmpty { all.append("it opened \(opened.map(\.target).joined(separator: ", "))") }
    return all + changes(since: before)
  }
}
