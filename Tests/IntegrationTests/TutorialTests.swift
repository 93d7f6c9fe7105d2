import DaemonTestSupport
import Foundation
import Testing

/// What docs/plugin-tutorial.md has its reader do, in order.
private struct Tutorial {
  struct Step {
    var section: String
    var language: String
    var text: String
    /// What the document shows of the output: the `text` behind the commands.
    var shown: String?
  }

  var steps: [Step] = []

  init() throws {
    let document = try String(contentsOfFile: Products.repository + "/docs/plugin-tutorial.md", encoding: .utf8)
    var section = ""
    for match in document.matches(of: #/(?m)^## (.+)$|^```(\w+)\n([\s\S]*?)^```$/#) {
      if let title = match.output.1 { section = String(title) }
      guard let language = match.output.2.map(String.init), let text = match.output.3.map(String.init) else { continue }
      if language == "text", !steps.isEmpty {
        steps[steps.count - 1].shown = text
      } else {
        steps.append(Step(section: section, language: language, text: text))
      }
    }
  }

  /// The code of a section, whose commands are taken away.
  mutating func take(_ section: String, _ language: String) -> [String] {
    let taken = steps.filter { $0.section == section && $0.language == language }.map(\.text)
    steps.removeAll { $0.section == section && $0.language == language }
    return taken
  }
}

/// A reader's terminal: each piece of commands finds the folder and the variables that the one before it has left.
private struct Terminal {
  let home = TemporaryFolder()
  private let state = TemporaryFolder()
  private let environment: [String: String]
  /// What the reader's source listens on; the document has one of its own.
  var address = "127.0.0.1:8080"

  init() {
    environment = ["HOME": home.path, "TMPDIR": home.path, "STATE": state.path]
    _ = state.write("directory", home.path)
    _ = state.write("variables", "")
  }

  /// The folder that the reader is in.
  var directory: String { text(state.path + "/directory").trimmingCharacters(in: .newlines) }

  func run(_ commands: String) -> (status: Int32?, text: String) {
    let script = """
      set -ea; cd "$(cat "$STATE/directory")"; . "$STATE/variables"
      trap 'status=$?; pwd >"$STATE/directory"; export -p >"$STATE/variables"; exit $status' EXIT
      \(commands.replacing("127.0.0.1:8080", with: address))
      """
    return ChildProcess.run("/bin/bash", ["-c", script], environment: environment, within: 600)
  }

  /// Runs them, and what the document waits for with a `sleep` until the output is what it shows. Returns the output.
  func run(_ step: Tutorial.Step) -> String {
    guard let pause = step.text.firstMatch(of: #/(?m)^sleep \d+; /#) else {
      let ran = run(step.text)
      #expect(ran.status == 0, "\(step.text): \(ran.text)")
      return ran.text
    }
    let before = run(String(step.text[..<pause.range.lowerBound]))
    #expect(before.status == 0, "\(step.text): \(before.text)")
    var output = ""
    let isShown = eventually {
      output = before.text + run(String(step.text[pause.range.upperBound...])).text
      return step.shown.map { Self.matches(output, $0) } ?? true
    }
    #expect(isShown, "\(step.text): \(output)")
    return output
  }

  /// `…` stands for anything in a line, and alone for any lines.
  static func matches(_ output: String, _ shown: String) -> Bool {
    let lines = { (text: String) in
      text.trimmingCharacters(in: .newlines).split(separator: "\n", omittingEmptySubsequences: false)
        .map { $0.trimmingCharacters(in: .init(charactersIn: " ")) }
    }
    var pattern = ""
    for line in lines(shown) {
      let escaped = line.split(separator: "…", omittingEmptySubsequences: false)
        .map { NSRegularExpression.escapedPattern(for: String($0)) }
      pattern += line == "…" ? "(.*\\n)*" : escaped.joined(separator: ".*") + "\\n"
    }
    let text = lines(output).joined(separator: "\n") + "\n"
    return text.range(of: "^" + pattern + "$", options: .regularExpression) == text.startIndex..<text.endIndex
  }

  /// Ends the daemon that a test which failed halfway has left.
  func endDaemon() {
    guard let named = text(state.path + "/variables").firstMatch(of: #/declare -x daemon="(\d+)"/#),
      let pid = pid_t(named.output.1),
      let directory = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(pid)/cwd"),
      directory.hasPrefix(home.path)
    else { return }
    kill(pid, SIGKILL)
  }
}

private func text(_ path: String) -> String {
  String(decoding: FileManager.default.contents(atPath: path) ?? Data(), as: UTF8.self)
}

@Suite struct TutorialTests {
  /// Where the document has the reader put the code, in words.
  private let placeOfTheRejection = "\"the topic is too long, or has a control character\");\n      continue;\n    }\n"

  /// An installation of the reader's own, since a plugin is installed into it.
  private func install(for reader: Terminal) throws {
    try #require(Installation.made.status == 0, "\(Installation.made.output)")
    let copied = ChildProcess.run("/bin/cp", ["-al", Installation.prefix, reader.home.path + "/sluice"])
    try #require(copied.status == 0, "\(copied.text)")
  }

  @Test("What the tutorial has its reader type does what it says, and prints what it shows")
  func theTutorialIsTrue() throws {
    var tutorial = try Tutorial()
    // PluginAuthorTests run these: they take minutes.
    #expect(
      tutorial.take("Swift and Rust", "sh").map { $0.split(separator: "\n").filter { !$0.hasPrefix("cd ") } } == [
        [
          "sluice plugin new --language swift my-swift-count", "(cd my-swift-count && ./check)",
          "sluice plugin new --language rust my-rust-count", "make -C my-rust-count check",
        ],
        [
          "(cd my-swift-count && OWN_RUNTIME=1 swift build -c release && sluice plugin describe .build/release/libsluice-my-swift-count.so)"
        ],
      ])
    _ = tutorial.take("Later verdicts, and leases", "c")
    var reader = Terminal()
    defer { reader.endDaemon() }
    #expect(tutorial.steps.removeFirst().text == "scripts/install --prefix \"$HOME/sluice\"\n")
    try install(for: reader)
    for step in tutorial.steps where canRun(step) {
      if step.language == "c" {
        try addRejection(step.text, in: reader)
        continue
      }
      let output = reader.run(step)
      if let shown = step.shown { #expect(Terminal.matches(output, shown), "\(step.text): \(output)") }
      try settlePort(after: step, &reader)
    }
    #expect(tutorial.steps.count > 20, "most of the document is commands")
  }

  /// A debugger is not everywhere, and may not be let at a process that is no child of its own.
  private func canRun(_ step: Tutorial.Step) -> Bool {
    guard step.text.hasPrefix("gdb ") else { return true }
    let scope = text("/proc/sys/kernel/yama/ptrace_scope")
    return hasTool("gdb") && (geteuid() == 0 || scope.isEmpty || scope == "0\n")
  }

  private func addRejection(_ code: String, in reader: Terminal) throws {
    let path = reader.directory + "/src/my-count.c"
    let source = text(path)
    #expect(source.ranges(of: placeOfTheRejection).count == 1)
    try source.replacing(placeOfTheRejection, with: placeOfTheRejection + code)
      .write(toFile: path, atomically: true, encoding: .utf8)
  }

  /// The port is one that is free, where the document's may be taken.
  private func settlePort(after step: Tutorial.Step, _ reader: inout Terminal) throws {
    if step.text.contains("sluice plugin new") {
      let path = reader.directory + "/smoke.yaml"
      let topology = text(path)
      #expect(topology.contains(reader.address))
      try topology.replacing(reader.address, with: "127.0.0.1:0").write(toFile: path, atomically: true, encoding: .utf8)
    } else if step.text.contains("sluice run") {
      let line = text(reader.directory + "/daemon.log").split(separator: "\n").first { $0.contains("listening") }
      reader.address = try #require(line.flatMap { field("address", of: String($0)) })
    }
  }

  @Test("The tutorial's code that keeps a batch's bytes fits the headers")
  func theLeaseFits() throws {
    var tutorial = try Tutorial()
    let code = tutorial.take("Later verdicts, and leases", "c")
    try #require(code.count == 1)
    let folder = TemporaryFolder()
    let source = folder.write(
      "lease.c",
      """
      #include <sluice/sluice.h>
      #include <stdlib.h>
      #include <string.h>
      struct job { uint64_t lease; slu_bytes payload; void *copy; };
      void keep(const slu_host *host, const slu_batch *batch, const slu_message *message, struct job *job);
      void keep(const slu_host *host, const slu_batch *batch, const slu_message *message, struct job *job) {
      \(code[0])}
      """)
    let headers = Products.repository + "/Sources/CSluice/include"
    let built = ChildProcess.run(
      "/usr/bin/cc", ["-std=c11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I" + headers, source])
    #expect(built.status == 0, "\(built.text)")
  }
}
