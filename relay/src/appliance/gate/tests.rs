//! The gate process over a table in memory instead of the kernel's; sockets and files are real.

mod applying;
mod attaching;
mod changing;
mod desk;
mod fake;
mod spiking;
mod starting;
