import SluiceTopology
import Testing

@Test(
  "Sizes are whole numbers with a known unit",
  arguments: [
    ("0", 0), ("512", 512), ("512B", 512), ("1kB", 1000), ("1KB", 1000), ("2MB", 2_000_000), ("3GB", 3_000_000_000),
    ("1TB", 1_000_000_000_000), ("4KiB", 4096), ("64MiB", 64 << 20), ("10GiB", 10 << 30), ("2TiB", 2 << 40),
    ("8388607TiB", 8_388_607 << 40), ("8388608TiB", nil), ("9223372036854775808", nil), ("", nil), ("MiB", nil),
    ("64 MiB", nil), ("64mib", nil), ("64M", nil), ("64K", nil), ("-1", nil), ("+1", nil), ("1.5GiB", nil),
    ("1e3", nil),
    ("٣MiB", nil), ("64MiB ", nil), ("0x10", nil),
  ] as [(String, Int64?)])
func aSize(_ text: String, _ bytes: Int64?) { #expect(Units.size(text) == bytes) }

@Test(
  "Durations are whole numbers with units, from large to small",
  arguments: [
    ("0", 0), ("0s", 0), ("5ns", 5), ("5us", 5000), ("5µs", 5000), ("50ms", 50_000_000), ("30s", 30_000_000_000),
    ("2m", 120_000_000_000), ("1h30m", 5_400_000_000_000), ("7d", 604_800_000_000_000), ("1s500ms", 1_500_000_000),
    ("1d1h1m1s1ms1us1ns", 90_061_001_001_001), ("", nil), ("5", nil), ("s", nil), ("1.5s", nil), ("-1s", nil),
    ("1 s", nil), ("1m1h", nil), ("1s1s", nil), ("1S", nil), ("1min", nil), ("1h30", nil), ("1w", nil),
    ("106751d", 9_223_286_400_000_000_000), ("106752d", nil), ("9223372036854775807ns1", nil),
  ] as [(String, Int64?)])
func aDuration(_ text: String, _ nanoseconds: Int64?) { #expect(Units.duration(text) == nanoseconds) }

@Test func sizesAndDurationsAreSaidInTheLargestUnitThatFits() {
  #expect(Units.describe(bytes: 64 << 20) == "64MiB")
  #expect(Units.describe(bytes: 1000) == "1000 bytes")
  #expect(Units.describe(bytes: 0) == "0 bytes")
  #expect(Units.describe(nanoseconds: 5_400_000_000_000) == "90m")
  #expect(Units.describe(nanoseconds: 0) == "0s")
}

@Test(
  "Times are those of RFC 3339, with seconds and time left out at will",
  arguments: [
    ("1970-01-01", 0), ("1970-01-01T00:00:01Z", 1_000_000_000), ("2000-02-29T12:00Z", 951_825_600_000_000_000),
    ("2026-08-01T10:00:00.25+02:00", 1_785_571_200_250_000_000), ("1969-12-31 23:59:59Z", -1_000_000_000),
    ("2026-02-29", nil), ("2026-13-01", nil), ("2026-08-01T10:00", nil), ("2026-08-01T24:00Z", nil), ("2026-8-1", nil),
    ("2026-08-01T10:00:00.Z", nil), ("2026-08-01Z", nil), ("2300-01-01", nil), ("yesterday", nil),
  ] as [(String, Int64?)])
func aTime(_ text: String, _ nanoseconds: Int64?) { #expect(Timestamp.nanoseconds(text) == nanoseconds) }

@Test("A time that is written exactly is read back as the same, before 1970 too")
func exactTimes() {
  #expect(Timestamp.exactText(1_785_571_200_000_000_007) == "2026-08-01T08:00:00.000000007Z")
  #expect(Timestamp.text(-500_000_000) == "1969-12-31T23:59:59.500Z")
  for _ in 0..<10_000 {
    let time = Int64.random(in: -9_000_000_000_000_000_000...9_000_000_000_000_000_000)
    #expect(Timestamp.nanoseconds(Timestamp.exactText(time)) == time)
  }
}

@Test(
  "Addresses are host:port, [v6]:port or :port",
  arguments: [
    (":8080", "0.0.0.0:8080"), ("127.0.0.1:0", "127.0.0.1:0"), ("[::1]:80", "[::1]:80"),
    ("node-1.lan:65535", "node-1.lan:65535"),
    ("[fe80::1%eth0]:80", "[fe80::1%eth0]:80"), ("8080", nil), ("host", nil), ("host:", nil), ("host:65536", nil),
    ("::1:80", nil), ("[]:80", nil), ("[host]:80", nil), ("a b:80", nil), ("host:+80", nil), ("http://host:80", nil),
  ] as [(String, String?)])
func anAddress(_ text: String, _ shown: String?) { #expect(ListenAddress(parsing: text)?.description == shown) }
