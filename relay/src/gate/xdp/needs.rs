//! What the gate needs of a kernel, asked only when one refuses something: so that the error names what is
//! missing, and not how the verifier stumbled over it.

use aya::maps::MapType;
use aya::programs::ProgramType;
use aya::sys::{BpfHelper, is_helper_supported, is_map_supported, is_program_supported};

use crate::gate::GateError;

/// Something that not every kernel has.
struct Need {
    /// What the kernel's documents call it.
    name: &'static str,
    /// The first version of Linux that has it.
    since: &'static str,
    what: What,
}

enum What {
    Program(ProgramType),
    Map(MapType),
    Helper(ProgramType, BpfHelper),
}

const fn need(name: &'static str, since: &'static str, what: What) -> Need {
    Need { name, since, what }
}

const NEEDS: [Need; 9] = [
    need("XDP programs", "4.8", What::Program(ProgramType::Xdp)),
    need("socket filters", "3.19", What::Program(ProgramType::SocketFilter)),
    need("arrays of tables", "4.12", What::Map(MapType::ArrayOfMaps)),
    need("ring buffers", "5.8", What::Map(MapType::RingBuf)),
    need(
        "bpf_ktime_get_boot_ns in XDP",
        "5.8",
        What::Helper(ProgramType::Xdp, BpfHelper::BPF_FUNC_ktime_get_boot_ns),
    ),
    need(
        "bpf_ringbuf_reserve in XDP",
        "5.8",
        What::Helper(ProgramType::Xdp, BpfHelper::BPF_FUNC_ringbuf_reserve),
    ),
    need(
        "bpf_xdp_load_bytes and frames in pieces",
        "5.18",
        What::Helper(ProgramType::Xdp, BpfHelper::BPF_FUNC_xdp_load_bytes),
    ),
    need(
        "bpf_skb_load_bytes_relative in socket filters",
        "4.18",
        What::Helper(ProgramType::SocketFilter, BpfHelper::BPF_FUNC_skb_load_bytes_relative),
    ),
    need(
        "bpf_ringbuf_reserve in socket filters",
        "5.8",
        What::Helper(ProgramType::SocketFilter, BpfHelper::BPF_FUNC_ringbuf_reserve),
    ),
];

impl Need {
    /// Returns whether the kernel has it; one that does not say so is taken to have it.
    fn is_met(&self) -> bool {
        match self.what {
            What::Program(program) => is_program_supported(program).unwrap_or(true),
            What::Map(map) => is_map_supported(map).unwrap_or(true),
            What::Helper(program, helper) => is_helper_supported(program, helper).unwrap_or(true),
        }
    }
}

/// Returns the error that names what this kernel lacks, or `refusal` if it lacks nothing that is known.
pub fn named(refusal: GateError) -> GateError {
    // Who may not load anything may not ask, either.
    if matches!(refusal, GateError::NotPermitted { .. }) {
        return refusal;
    }
    named_by(refusal, Need::is_met)
}

/// Returns what this kernel lacks, each with the version of Linux that brought it. Without root it seems to
/// lack nothing, since it does not say.
#[must_use]
pub fn lacking() -> Vec<String> {
    unmet(Need::is_met)
}

fn unmet(is_met: impl Fn(&Need) -> bool) -> Vec<String> {
    let lacking = NEEDS.iter().filter(|need| !is_met(need));
    lacking.map(|need| format!("{} (since Linux {})", need.name, need.since)).collect()
}

fn named_by(refusal: GateError, is_met: impl Fn(&Need) -> bool) -> GateError {
    let lacking = unmet(is_met);
    if lacking.is_empty() {
        return refusal;
    }
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    GateError::Lacking { release, lacking: lacking.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal() -> GateError {
        GateError::Refused { program: "gate", log: "invalid func".into() }
    }

    #[test]
    fn a_refusal_names_what_the_kernel_lacks() {
        let old = |need: &Need| need.since != "5.18";
        let said = named_by(refusal(), old).to_string();
        assert!(said.contains("lacks bpf_xdp_load_bytes"), "{said}");
        assert!(said.contains("since Linux 5.18"), "{said}");
    }

    #[test]
    fn a_kernel_that_runs_the_gate_meets_every_need() {
        // Without root the kernel does not say, which counts as met.
        let unmet: Vec<&str> =
            NEEDS.iter().filter(|need| !need.is_met()).map(|need| need.name).collect();
        assert!(unmet.is_empty(), "{unmet:?}");
    }

    #[test]
    fn a_refusal_of_a_kernel_that_lacks_nothing_stays_as_it_is() {
        assert!(matches!(named_by(refusal(), |_| true), GateError::Refused { .. }));
        let denied = GateError::NotPermitted { what: "x".into() };
        assert!(matches!(named(denied), GateError::NotPermitted { .. }));
    }
}
