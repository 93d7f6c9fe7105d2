// Judges many crash states of a log: `journal-simulator states=N seed=S threads=T durability=fsync|written|memory damages=0|1`.
// Prints what it found, and exits with 1 at the first broken promise, which its seed repeats.

import Glibc
import JournalSimulation
import SluiceCore

SimulatorRun(CommandLine.arguments).run()
