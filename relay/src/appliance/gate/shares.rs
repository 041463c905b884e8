//! Shares of a spike, held against what was counted.

use std::collections::BTreeMap;

use crate::event::spike::Share;

/// Takes from estimates what cannot be: nobody sent more than was refused in all, where that was counted. At least as
/// many as before are certain.
pub(super) fn bound(top: &mut [Share], reasons: &BTreeMap<&'static str, u64>) {
    let refused: u64 = reasons.values().sum();
    for share in top.iter_mut().filter(|share| refused > 0 && share.count > refused) {
        let certain = share.count.saturating_sub(share.error).min(refused);
        (share.count, share.error) = (refused, refused - certain);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_told_to_have_sent_more_than_was_refused() {
        let net = "203.0.113.0/24".parse().unwrap();
        let share = |count| Share { net, count, error: 9, reason: "unlisted_syn" };
        let counts = |refused: &[(&'static str, u64)]| {
            let mut top = [share(1_088), share(7)];
            bound(&mut top, &refused.iter().copied().collect());
            top.map(|share| share.count)
        };
        assert_eq!(counts(&[("unlisted_syn", 200), ("banned", 15)]), [215, 7]);
        assert_eq!(counts(&[]), [1_088, 7], "nobody counted it");
    }
}
