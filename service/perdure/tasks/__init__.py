"""The rules: pure functions and values, without I/O, clock or randomness.

Everything that Perdure *decides* is decided here, and everything that it needs to know for that
is an argument: the time, the random number, the mail. So each rule can be tried out in a test
without a database, and the same question always gets the same answer.

- `places`: where a task can be, how its state follows from that, and which moves there are.
- `outcomes`, `policies`: what a handler returns, and what users say about retries and time.
- `decide`: what becomes of a task before a run and after it. SQL carries the move out.
- `plan`, `positions`: what the next claim asks for, and what the last ones have told.
- `checkpoints`, `codec`: execution metadata and JSON, in both directions.

**Seek and sweep.** The ready rows of one lane and priority form an index range whose beginning is
full of entries that are dead but not yet removed: every claim that started at the beginning would
step over them again, and while an old transaction is open nothing can remove them. So a claim
starts behind the last id that it took (the seek). Ids that appear behind that position - a
transaction that committed late, a task that came back - are found by a read from the beginning
(the sweep), and by letting the position trail a little. The position is a hint that may be wrong
at any time: it lives in memory, is dropped on reconnect, and nothing but speed depends on it.

**Poison.** A task that kills its process takes its neighbours with it, and nobody can tell from
the outside which of them it was. So recovery blames nobody: it counts a crash for every task that
had started. After a few crashes a task runs in a child process of its own, where its neighbours
are safe, and a child that dies by itself proves its task guilty.
"""
