import SluiceCore

/// Several owners' metrics as one page: families of the same name are one, and samples with the same labels are added up.
///
/// Two owners have the same labels when one part took over from another: an earlier source whose connections go on, and
/// what parts that have ended had counted. So a reload makes no counter go back.
struct MetricMerging {
  private var order: [String] = []
  private var families: [String: MetricFamily] = [:]
  /// Family and labels → where the sample stands.
  private var places: [String: Int] = [:]

  mutating func add(_ family: MetricFamily) {
    if families[family.name] == nil {
      order.append(family.name)
      families[family.name] = MetricFamily(family.name, family.kind, help: family.help, samples: [])
    }
    for sample in family.samples {
      let key = sample.labels.reduce(family.name) { "\($0)\u{0}\($1.0)\u{0}\($1.1)" }
      if let place = places[key] {
        families[family.name]?.samples[place].add(sample)
      } else {
        places[key] = families[family.name]?.samples.count
        families[family.name]?.samples.append(sample)
      }
    }
  }

  var merged: [MetricFamily] { order.compactMap { families[$0] } }

  /// Of what has ended only the counts stay.
  static func counts(_ families: [MetricFamily]) -> [MetricFamily] { families.filter { $0.kind != .gauge } }
}

extension MetricFamily.Sample {
  fileprivate mutating func add(_ other: Self) {
    value += other.value
    sum += other.sum
    guard buckets.count == other.buckets.count else { return }
    for index in buckets.indices { buckets[index].cumulative += other.buckets[index].cumulative }
  }
}
