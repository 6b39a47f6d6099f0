//! Real hosts: each with an address, a network and an SSH server of its own.

mod commands;
mod files;
mod kit;
mod lost;
mod refused;
mod sockets;
