//! A hostile agent gets nowhere. Each test is an agent that really tries, and shows beside it that
//! the same means do work where they may: an attempt that fails for want of a program shows nothing.

mod repository;
mod terminal;
