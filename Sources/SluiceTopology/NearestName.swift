/// The candidate that was most likely meant, or nil when none is near: by optimal string alignment (insert, delete,
/// replace, swap neighbours), case ignored, at most a third of the longer word (but at least one edit).
package func nearestName(to text: String, in candidates: some Sequence<String>) -> String? {
  let limit = 64
  let wanted = Array(text.lowercased().unicodeScalars.prefix(limit))
  guard !wanted.isEmpty else { return nil }
  var best: (name: String, distance: Int)?
  for candidate in candidates {
    let other = Array(candidate.lowercased().unicodeScalars.prefix(limit))
    let allowed = max(1, max(wanted.count, other.count) / 3)
    guard abs(wanted.count - other.count) <= allowed else { continue }
    let distance = editDistance(wanted, other)
    if distance <= allowed && distance < (best?.distance ?? Int.max) && distance < wanted.count {
      best = (candidate, distance)
    }
  }
  return best?.name
}

private func editDistance(_ left: [Unicode.Scalar], _ right: [Unicode.Scalar]) -> Int {
  var beforeLast = [Int](repeating: 0, count: right.count + 1)
  var last = Array(0...right.count)
  for i in 0..<left.count {
    var current = [i + 1] + [Int](repeating: 0, count: right.count)
    for j in 0..<right.count {
      var cost = min(last[j + 1] + 1, current[j] + 1, last[j] + (left[i] == right[j] ? 0 : 1))
      if i > 0, j > 0, left[i] == right[j - 1], left[i - 1] == right[j] { cost = min(cost, beforeLast[j - 1] + 1) }
      current[j + 1] = cost
    }
    beforeLast = last
    last = current
  }
  return last[right.count]
}
