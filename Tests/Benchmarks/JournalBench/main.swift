// Drives the journal without sockets or plugins: `journal-bench MODE key=value …`, one JSON object on standard output.
//   throughput dir= size= seconds= warm=0|1 streams= durability=   records as fast as they go, a subscriber that settles all
//   latency dir= size= rate= seconds=                               open loop: from when a record was due to its acknowledgement
//   fill dir= bytes= size= segment=                                 a log of that many bytes, left as after a kill -9
//   recover dir= segment=                                           opens that log and says how long it took
//   stalled dir= seconds= size=                                     memory beside a subscriber that holds what it can
// Tests/Benchmarks/bench_journal.py runs them in turn with the reference.

let arguments = BenchArguments(CommandLine.arguments)
switch arguments.mode {
case "throughput": Throughput(arguments).run()
case "latency": LatencyRun(arguments).run()
case "fill": LogFiller(arguments).run()
case "recover": RecoveryRun(arguments).run()
case "stalled": StalledSubscriber(arguments).run()
default: BenchArguments.fail("no mode \(arguments.mode)")
}
