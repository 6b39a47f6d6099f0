//! The docker target on real engines of both generations.

mod away;
mod ends;
mod fence;
mod fixture;
mod hardening;
mod interrupted;
mod lifecycle;
mod migrate;
mod prepare;
mod traffic;
