import ArgumentParser
import Glibc
import Logging
import SluiceCore
import SluiceIdentity
import SluiceTopology

/// `sluice send`: a producer, and a load generator.
struct Send: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Send lines of a file, or generated records, to a daemon; say how fast and how late.",
    discussion: """
      Lines of a file, each a record of its own, each stored exactly once, whatever breaks on the way:

        sluice send --file access.log
        sluice send --file access.log --tcp localhost:7400
        tail -F access.log | sluice send --file -

      Over HTTP a line becomes {"message":"LINE"}; with --ndjson it is such an object already. Over TCP it is sent as it \
      is. The lines are numbered under a producer's name, so that the daemon drops what it has already. Was a run cut \
      short, the same command with the --producer that it printed goes on where it ended: same file, same number of \
      connections.

      Generated records, as load:

        sluice send --count 100000 --connections 64                     closed loop: as fast as answers come
        sluice send --duration 30s --rate 20000 --connections 16        open loop: 20,000 records/s, come what may
        sluice send --tcp localhost:7400 --duration 10s --size 128      many records under way at once
        sluice send --count 1000000 --batch 1000 --connections 4        POST /logs, 1,000 records each

      In a closed loop a slow answer delays the next record, which hides how long others would have had to wait. With \
      --rate latency counts from the moment when a record was due, sent or not: use it to learn about latency, and the \
      closed loop to learn about throughput.

      Acknowledged means stored as the stream's durability says. What is refused for now (429, 503, a full stream, a \
      lost connection) is sent again, unless --no-retry is given. Ctrl-C stops sending, waits for what is under way, \
      and reports.

      Exit status: 0 everything was acknowledged; 65 records were refused for good; 75 some were not acknowledged; \
      64 wrong options, 66 no such file, 68 no such host, 69 nobody there or nothing went on, 74 the file can't be \
      read, 76 the other side speaks something else, 77 not permitted.
      """)

  @Option(help: ArgumentHelp("Send to this HTTP source: POST /log; https://… for TLS.", valueName: "url"))
  var http: String?

  @Option(help: ArgumentHelp("Send to this framed TCP source instead.", valueName: "host:port"))
  var tcp: String?

  @Flag(help: "Encrypt --tcp; --http https://… is encrypted anyway.")
  var tls = false

  @Option(help: ArgumentHelp("TLS: who may sign the server's certificate (PEM).", valueName: "file"))
  var ca: String?

  @Option(help: ArgumentHelp("TLS: this client's certificate (PEM); with --key.", valueName: "file"))
  var cert: String?

  @Option(help: ArgumentHelp("TLS: the key of --cert (PEM).", valueName: "file"))
  var key: String?

  @Flag(help: "TLS: take any certificate; for trying out.")
  var insecure = false

  @Option(help: ArgumentHelp("Send the lines of this file; - is the standard input.", valueName: "file"))
  var file: String?

  @Flag(help: "The lines are JSON objects with a string member message already; HTTP only.")
  var ndjson = false

  @Option(help: "Send so many generated records.")
  var count: UInt64?

  @Option(help: "Send generated records for so long: 30s, 5m. With --rate, what was due by then is still sent.")
  var duration: Nanoseconds?

  @Option(help: "Bytes of a generated record.")
  var size: ByteCount?

  @Option(help: "Records per second over all connections: an open loop.")
  var rate: Double?

  @Option(help: "Connections at once.")
  var connections = 1

  @Option(
    help: ArgumentHelp(
      "Per connection, how much may be without an answer: requests (1) or records of --tcp (16384).", valueName: "n"))
  var inFlight: Int?

  @Option(help: "Records per request: more than 1 is POST /logs.")
  var batch: Int?

  @Option(help: "The records' topic; the source's own without it.")
  var topic = ""

  @Option(help: "Number the records under this name; with --file, one is made up without it.")
  var producer: String?

  @Flag(help: "Number nothing: what is sent again after a lost connection may be stored twice.")
  var noProducer = false

  @Flag(help: "Count what is refused for now as not acknowledged, and go on with the next; implies --no-producer.")
  var noRetry = false

  @Option(help: "Give up when nothing was acknowledged for so long; 0: never.")
  var timeout = Nanoseconds(Limits.defaultSendTimeoutNanoseconds)

  @Option(help: "Authenticate with this token. Others may see it in the list of processes: --token-file is better.")
  var token = ""

  @Option(
    help: ArgumentHelp("Authenticate with the token in this file.", valueName: "file"), completion: .file())
  var tokenFile: String?

  @Option(help: "What the identity's device is known by, if it is tied to one.")
  var fingerprint = ""

  @Flag(help: "Print the result as JSON.")
  var json = false

  func validate() throws {
    _ = try plan()
  }

  func run() throws {
    var plan = try plan()
    if let tokenFile { plan.token = try Self.token(in: tokenFile) }
    // A name that is made up has to be one of the identity's own.
    if producer == nil, let name = plan.producer, let owner = IdentityToken(parsing: plan.token.utf8)?.identity {
      plan.producer = "\(owner)/\(name)"
    }
    Signals.block()
    let signals = Signals.stream()
    Signals.serve()
    ResourceLimits.raise(Logger(label: "sluice send"))
    do throws(SendFailure) {
      let input = try open(plan.input)
      let addresses = try Addresses.resolve(host: plan.target.host, port: plan.target.port)
      if producer == nil, let name = plan.producer {
        StandardError.print("producer \(name)")
      }
      let tls = try plan.tls.map { options throws(SendFailure) in try SendTLS(options, target: plan.target) }
      let sender = Sender(plan, addresses: addresses, tls: tls, input: input)
      let outcome = Blocking.wait {
        var progress = SendProgress(isShown: StandardError.isTerminal)
        let outcome = await sender.run(signals: signals) { progress.show($0, $1) }
        progress.clear()
        return outcome
      }
      let report = SendReport(plan: plan, outcome: outcome)
      for line in report.complaints { StandardError.print(line) }
      if json {
        print(report.json.canonicalText)
      } else if outcome.failure == nil || outcome.tally.made > 0 {
        print(report.text)
      }
      if report.status != .success { throw SendFailure(status: report.status, message: "") }
    } catch {
      if !error.message.isEmpty { StandardError.print(error.message) }
      throw error.status
    }
  }

  /// The first line of a file.
  private static func token(in path: String) throws -> String {
    do {
      let bytes = try FileReading.bytes(of: path, limit: Limits.maxSecretFileBytes, regularOnly: false)
      let line = bytes.prefix { $0 > 0x20 && $0 < 0x7F }
      guard !line.isEmpty, line.count <= Limits.maxKeyBytes else {
        StandardError.print("\(path) does not begin with a token")
        throw ExitStatus.dataError
      }
      return String(decoding: line, as: UTF8.self)
    } catch let error as FileReadError {
      StandardError.print("cannot read \(path): \(error.message)")
      throw ExitStatus.noInput
    }
  }

  private func open(_ input: SendPlan.Input) throws(SendFailure) -> Int32? {
    guard case .file(let path) = input else { return nil }
    if path == "-" { return STDIN_FILENO }
    let descriptor = Glibc.open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw SendFailure(
        status: ExitStatus.noInput, message: "cannot open \(path): \(String(cString: strerror(errno)))")
    }
    return descriptor
  }
}

/// The line on the terminal that is written over again and again.
private struct SendProgress {
  let isShown: Bool
  private var last: (acknowledged: UInt64, elapsed: Int64) = (0, 0)

  init(isShown: Bool) { self.isShown = isShown }

  mutating func show(_ tally: SendTally, _ elapsed: Int64) {
    guard isShown else { return }
    StandardError.write("\r\u{1B}[K" + SendReport.progress(tally, elapsed, last: last))
    last = (tally.acknowledged, elapsed)
  }

  func clear() {
    if isShown { StandardError.write("\r\u{1B}[K") }
  }
}
