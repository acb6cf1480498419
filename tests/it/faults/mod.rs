//! Everything that can fail is made to fail in the middle of work; afterwards all has to be in
//! order, as `harness::invariants` has it. `docs/reliability.md` says what is promised.

mod manager;
