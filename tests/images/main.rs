//! From a commit to containers: images made by real engines of both generations, published to a real registry that asks
//! for a password, and deployed. The engine and the registry are the judges.

mod bundle;
mod crash;
mod doctor;
mod faults;
mod ground;
mod laws;
mod pipeline;
mod registry;
mod scan;
mod traffic;
