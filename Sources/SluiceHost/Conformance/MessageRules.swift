import CSluice
import SluiceCore

extension ConformanceRule {
  private static let payloadRemedy = "Take payload, topic, key and headers as bytes with a length, and nothing more."

  static let messages: [ConformanceRule] = [
    taking(
      "empty-payload", demand: "deliver takes messages without a payload.", "messages with an empty payload"
    ) { [RuleMessage(""), RuleMessage("x"), RuleMessage("")] },
    taking(
      "large-payload", demand: "deliver takes a payload of 1 MiB, the most that a record may have unless configured.",
      "a message with a payload of 1 MiB"
    ) {
      let text = #"{"message":""# + String(repeating: "large ", count: Limits.conformanceLargePayloadBytes / 6)
      let closing = #""}"#
      return [
        RuleMessage(
          bytes: Array(text.utf8.prefix(Limits.conformanceLargePayloadBytes - closing.utf8.count)) + closing.utf8)
      ]
    },
    taking(
      "binary-payload", demand: "deliver takes payloads of any bytes: zeros, invalid UTF-8, half of an escape.",
      "messages with binary payloads"
    ) {
      [
        RuleMessage(bytes: Array(0...255)), RuleMessage(bytes: [0]), RuleMessage(bytes: [0xFF, 0xFE, 0xC3, 0x28]),
        RuleMessage(bytes: [0xED, 0xA0, 0x80]), RuleMessage(bytes: Array(#"{"message":"\ud800"#.utf8)),
        RuleMessage(bytes: Array(repeating: 0, count: 4096)), RuleMessage("%s%n%p"),
        RuleMessage(String(repeating: "[", count: 20_000)),
      ]
    },
    taking(
      "bare-messages", demand: "deliver takes messages with no topic, key, headers, source or producer.",
      "messages with nothing but a payload"
    ) {
      var message = RuleMessage(#"{"message":"bare"}"#)
      (message.topic, message.key, message.source) = ([], [], "")
      message.eventTime = 0
      return [message, message]
    },
    taking(
      "odd-names", demand: "deliver takes topics and keys of any bytes, and event times of any value.",
      "messages with odd topics, keys and times"
    ) { oddNames() },
    taking(
      "odd-headers", demand: "deliver takes headers of every form, repeated ones and malformed ones.",
      "messages with odd headers"
    ) { oddHeaders() },
    taking(
      "lsn-gaps", demand: "deliver takes messages whose LSNs skip, and batches that begin far behind the last.",
      "messages with gaps in their LSNs", BatchShape(firstLSN: 1 << 40, step: 1000)
    ) { RuleMessage.some(16) },
    taking(
      "replay", demand: "deliver takes a replay: SLU_BATCH_REPLAY, LSNs from before, attempts from 1.",
      "a replay", BatchShape(flags: UInt32(SLU_BATCH_REPLAY))
    ) { RuleMessage.some(16) },
    ConformanceRule(
      "redelivery", .delivery, needs: deliverable,
      demand: "deliver takes messages again: the same LSNs under new tokens, with attempt 2 and SLU_BATCH_REDELIVERY.",
      remedy: "Recognise a record by its log UUID and LSN, and acknowledge it again."
    ) { bench throws(RuleVerdict) in
      try bench.running { instance throws(RuleVerdict) in
        try bench.give(bench.batch(RuleMessage.some(16), "a batch that comes again later"), to: instance)
        bench.settle(instance)
        var again = RuleMessage.some(16)
        for index in again.indices where index % 2 == 0 { again[index].attempt = 2 }
        let shape = BatchShape(flags: UInt32(SLU_BATCH_REDELIVERY))
        try bench.give(bench.batch(again, shape, "a redelivery"), to: instance)
        try bench.give(bench.batch(again, shape, "a second redelivery"), to: instance)
      }
    },
    ConformanceRule(
      "later-host", .delivery, needs: deliverable,
      demand: "It works with a host of a later minor version: longer structs, and messages that lie further apart.",
      remedy: "Step messages by message_stride (slu_batch_message does), and take a larger struct_size for fine."
    ) { bench throws(RuleVerdict) in
      try bench.running(ConformanceHost.Manners(isLater: true)) { instance throws(RuleVerdict) in
        for count in [1, 64] {
          let shape = BatchShape(appended: 40)
          try bench.give(bench.batch(RuleMessage.some(count), shape, "\(count) messages of a later host"), to: instance)
        }
      }
    },
  ]

  /// A rule that gives one batch, after an ordinary one.
  private static func taking(
    _ name: String, demand: String, _ what: String, _ shape: BatchShape = BatchShape(firstLSN: 9),
    messages: @escaping @Sendable () -> [RuleMessage]
  ) -> ConformanceRule {
    ConformanceRule(name, .delivery, needs: deliverable, demand: demand, remedy: payloadRemedy) {
      bench throws(RuleVerdict) in
      try bench.running { instance throws(RuleVerdict) in
        try bench.give(bench.batch(RuleMessage.some(8), "an ordinary batch"), to: instance)
        try bench.give(bench.batch(messages(), shape, what), to: instance)
      }
    }
  }

  private static func oddNames() -> [RuleMessage] {
    let names: [[UInt8]] = [
      [0], [0xFF, 0xFE], Array("a/../../b".utf8), Array("%s%n".utf8), Array("ü\u{202E}\u{1F600}".utf8),
      Array(repeating: UInt8(ascii: "n"), count: Limits.maxTopicBytes), Array("'; drop table logs; --".utf8),
    ]
    var all = names.map { name in
      var message = RuleMessage(#"{"message":"odd name"}"#)
      (message.topic, message.key) = (name, name)
      return message
    }
    for time in [Int64.min, -1, 0, .max] {
      var message = RuleMessage(#"{"message":"odd time"}"#)
      message.eventTime = time
      all.append(message)
    }
    return all
  }

  /// Name and value in the raw form.
  private static func header(_ name: [UInt8], _ value: [UInt8]) -> [UInt8] {
    [UInt8(name.count)] + name + [UInt8(value.count & 0xFF), UInt8(value.count >> 8)] + value
  }

  private static func oddHeaders() -> [RuleMessage] {
    let good = header(Array("trace".utf8), Array("1".utf8))
    let forms: [[UInt8]] = [
      good, good + good, header([], []), header(Array("binary".utf8), [0, 0xFF, 0xFE]),
      header(Array(repeating: UInt8(ascii: "h"), count: 255), Array(repeating: UInt8(ascii: "v"), count: 8000)),
      // Malformed: a name, then a value, that goes past the end; a length alone; good ones before it.
      [200, 1, 2], [1, UInt8(ascii: "a"), 0xFF, 0xFF], [5], [0xFF], good + [9], good + [0, 0],
    ]
    return forms.map { headers in
      var message = RuleMessage(#"{"message":"odd headers"}"#)
      message.headers = headers
      return message
    }
  }
}
