/// Who may do what: bounds of the identities' file, of guessing, and of quotas.
extension Limits {
  package static let maxIdentities = 2000
  package static let maxIdentitiesBytes = 4 << 20
  package static let maxIdentityScopes = 64
  /// Keys of one identity that count at a time: the newest, and those in their grace period. A proof is held against as many,
  /// whoever is named, so that the time it takes tells nothing.
  package static let maxIdentityKeys = 4
  package static let maxIdentityKeyIDBytes = 16
  /// Patterns of producers' names that an identity may have.
  package static let maxIdentityProducers = 64
  /// Producers that one identity may make while the daemon runs and that are remembered; those that it finds are not counted.
  package static let maxProducersPerIdentity = 4096
  /// SHA-256, stored keys, secrets, nonces and tags.
  package static let identityKeyBytes = 32
  /// Longer ones are not looked at: a name, a key's id and a secret in base64url, with what stands between them.
  package static let maxTokenBytes = 256
  package static let defaultKeyGraceNanoseconds: Int64 = 86_400_000_000_000
  package static let keyGraceNanoseconds: ClosedRange<Int64> = 0...31_536_000_000_000_000

  // MARK: Quotas

  package static let quotaRecords = 1...1_000_000_000
  package static let quotaBytes = 1...(1 << 40)
  /// How much of a rate may come at once.
  package static let defaultQuotaBurstNanoseconds: Int64 = 1_000_000_000
  package static let quotaBurstNanoseconds: ClosedRange<Int64> = 1_000_000...3_600_000_000_000
  /// What one batch costs at most, and so how long an identity may have to wait for it.
  package static let maxQuotaDebtNanoseconds: Int64 = 3_600_000_000_000

  /// Credit of a framed connection whose identity has a quota is given in steps of what the quota lets through in its burst,
  /// but in no shorter ones than this, and of no fewer bytes: a client's whole frame is to fit into one or a few.
  package static let minQuotaCreditNanoseconds: Int64 = 10_000_000
  package static let minQuotaCreditBytes = 64 << 10

  // MARK: Guessing

  /// Wrong guesses of one (identity, address) before it has to wait, and for how long: doubling between the two.
  package static let freeGuesses = 5
  package static let lockoutNanoseconds: ClosedRange<Int64> = 1_000_000_000...900_000_000_000
  /// What was wrong so long ago is forgotten.
  package static let guessMemoryNanoseconds: Int64 = 3_600_000_000_000
  /// The table of guesses: so many sets of so many places.
  package static let lockoutSets = 4096
  package static let lockoutWays = 8

  // MARK: Telling

  /// Of the refusals of one (source, identity) one is told in so long; those who are no identity count as one.
  package static let refusalLogNanoseconds: Int64 = 10_000_000_000
  /// Of how many (source, identity) it is known when they were told last.
  package static let maxRefusalLogEntries = 1024
}
