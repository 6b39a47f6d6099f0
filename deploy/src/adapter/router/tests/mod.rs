//! The router with real sockets, real units and real clients.

mod carry;
mod choose;
mod control;
mod process;
mod support;
mod switch;
