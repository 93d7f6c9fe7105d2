import Foundation
import SluiceCore
import Testing

@testable import SluiceIngest

@Suite("Metrics as text")
struct MetricsExpositionTests {
  static let families = [
    MetricFamily(
      "sluice_records_total", .counter, help: "Records \"seen\",\nor \\ not.",
      samples: [.init([("source", "a\"b\\c\nd")], 3), .init([("source", "é")], 2.5)]),
    MetricFamily("sluice_lag", .gauge, help: "Lag.", samples: [.init([], -1), .init([("x", "")], .infinity)]),
    MetricFamily(
      "sluice_latency_seconds", .histogram, help: "Latency.",
      samples: [.init([("s", "x")], 7, buckets: [(0.5, 2), (2, 6), (.infinity, 7)], sum: 9.25)]),
    MetricFamily("sluice_records_total", .counter, help: "Again.", samples: [.init([("source", "z")], 1e16)]),
  ]

  @Test func prometheusTextIsAsItsFormatSays() {
    #expect(
      MetricsExposition.render(Self.families, as: .prometheus) == #"""
        # HELP sluice_records_total Records "seen",\nor \\ not.
        # TYPE sluice_records_total counter
        sluice_records_total{source="a\"b\\c\nd"} 3
        sluice_records_total{source="é"} 2.5
        sluice_records_total{source="z"} 1e+16
        # HELP sluice_lag Lag.
        # TYPE sluice_lag gauge
        sluice_lag -1
        sluice_lag{x=""} +Inf
        # HELP sluice_latency_seconds Latency.
        # TYPE sluice_latency_seconds histogram
        sluice_latency_seconds_bucket{s="x",le="0.5"} 2
        sluice_latency_seconds_bucket{s="x",le="2"} 6
        sluice_latency_seconds_bucket{s="x",le="+Inf"} 7
        sluice_latency_seconds_sum{s="x"} 9.25
        sluice_latency_seconds_count{s="x"} 7

        """#)
  }

  @Test func openMetricsNamesCountersWithoutTheirSuffixAndEnds() {
    let text = MetricsExposition.render(Self.families, as: .openMetrics)
    #expect(text.contains("# TYPE sluice_records counter\n"))
    #expect(text.contains("# HELP sluice_records Records \\\"seen\\\",\\nor \\\\ not.\n"))
    #expect(text.contains("\nsluice_records_total{source=\"z\"} "))
    #expect(text.hasSuffix("\n# EOF\n"))
  }

  @Test func theJSONFormIsJSON() {
    let text = MetricsExposition.render(Self.families, as: .json)
    #expect(throws: Never.self) { try JSONSerialization.jsonObject(with: Data(text.utf8)) }
    #expect(
      text.hasPrefix(#"{"metrics":[{"name":"sluice_records_total","kind":"counter","help":"Records \"seen\",\nor"#))
    #expect(
      text.contains(#"{"labels":{"s":"x"},"count":7,"sum":9.25,"buckets":[{"le":0.5,"count":2},{"le":2,"count":6}]}"#))
    #expect(text.contains(#"{"labels":{"x":""},"value":null}"#), "JSON has no infinity")
    #expect(MetricsExposition.render([], as: .json) == #"{"metrics":[]}"#)
  }

  @Test func theFormIsWhatTheClientAccepts() throws {
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
    let cases: [(String?, String)] = [
      (nil, "application/json"), ("*/*", "application/json"), ("application/json", "application/json"),
      ("application/json, text/plain, */*", "application/json"),
      ("text/plain", "text/plain; version=0.0.4; charset=utf-8"),
      ("TEXT/PLAIN;q=0.5", "text/plain; version=0.0.4; charset=utf-8"),
      (prometheus, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
    ]
    let harness = HTTPHarness(isAdmin: true)
    let connection = try harness.connect()
    for (accept, type) in cases {
      let header = accept.map { "Accept: \($0)\r\n" } ?? ""
      try connection.receive("GET /metrics HTTP/1.1\r\nHost: x\r\n\(header)\r\n")
      let response = try #require(try connection.responses().first)
      #expect(response.status == 200 && response.headers["content-type"] == type)
      #expect(response.body.contains("sluice_up"))
    }
  }

  @Test func healthAndReadinessAreShownAndHEADHasNoBody() throws {
    let harness = HTTPHarness(isAdmin: true, isReady: false)
    let connection = try harness.connect()
    try connection.receive("GET /health?x HTTP/1.1\r\nHost: x\r\n\r\nGET /ready HTTP/1.1\r\nHost: x\r\n\r\n")
    let responses = try connection.responses()
    #expect(responses.map(\.status) == [200, 503])
    #expect(responses[0].body == #"{"status":"ok","problems":[]}"#)
    let problem = try #require(try JSONSerialization.jsonObject(with: Data(responses[1].body.utf8)) as? [String: Any])
    #expect(problem["problems"] as? [String] == FakeEndpoints(isReady: false).readiness())
    #expect(problem["code"] as? String == "not_ready")
    #expect(responses.allSatisfy { $0.headers["cache-control"] == "no-store" })
    try connection.receive("HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n")
    let text = try connection.sent()
    #expect(text.contains("Content-Length: 29\r\n") && text.hasSuffix("\r\n\r\n"))
  }

  @Test func anAdminListenerTakesNoRecords() throws {
    let harness = HTTPHarness(isAdmin: true)
    let connection = try harness.connect()
    try connection.receive(post(#"{"message":"x"}"#))
    #expect(try connection.responses().map(\.status) == [404])
  }
}
