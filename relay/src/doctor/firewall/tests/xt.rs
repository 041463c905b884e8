//! Rules that iptables 1.8.9 wrote, as nftables 1.0.6 lists them and as iptables saves them.

use super::*;

const LISTED: &str = include_str!("xt.json");
const SAVED_V4: &str = include_str!("xt.iptables");
const SAVED_V6: &str = include_str!("xt.ip6tables");

fn saved(v4: &str) -> Ruleset {
    let mut saved = iptables::read(v4, Families::V4);
    saved.chains.extend(iptables::read(SAVED_V6, Families::V6).chains);
    saved
}

fn causes(rules: &Ruleset, from: &str) -> Vec<&'static str> {
    let found = judge(rules, &[client(Some(from))], Clients::One(from.parse().unwrap()));
    let ids = found.iter().map(|found| found.cause.id());
    let mut ids: Vec<_> = ids.filter(|id| *id != "redirected-here").collect();
    ids.dedup();
    ids
}

#[test]
fn rules_that_iptables_wrote_are_judged_as_it_prints_them_and_never_taken_for_none() {
    const STOPS: &[&str] = &["firewall"];
    const AWAY: &[&str] = &["redirected-away"];
    const PERHAPS: &[&str] = &["firewall-perhaps"];
    const NONE: &[&str] = &[];
    assert!(nft::is_partial(LISTED));
    let whole = nft::read(LISTED, &saved(SAVED_V4)).unwrap();
    let alone = nft::read(LISTED, &Ruleset::default()).unwrap();
    // A rule that is there no more: the two are of different moments.
    let other = SAVED_V4.replacen("-A INPUT -s 10.66.0.3/32", "# ", 1);
    let other = nft::read(LISTED, &saved(&other)).unwrap();
    for (row, from, wanted, without) in [
        ("a refusal", "10.66.0.1", STOPS, STOPS),
        ("ports of a list", "10.66.0.2", STOPS, PERHAPS),
        ("a comment", "10.66.0.3", STOPS, STOPS),
        ("a queue", "10.66.0.4", PERHAPS, PERHAPS),
        ("a counter and a log", "10.66.0.5", NONE, NONE),
        ("a refusal in a chain of its own", "10.66.0.6", STOPS, PERHAPS),
        ("a limit", "10.66.0.7", PERHAPS, PERHAPS),
        ("states", "10.66.0.8", NONE, PERHAPS),
        ("another port", "10.66.0.9", AWAY, PERHAPS),
        ("another host", "10.66.0.10", AWAY, PERHAPS),
        ("another host, for addresses of ours", "10.66.0.11", AWAY, PERHAPS),
        ("from another port", "10.66.0.12", NONE, NONE),
        ("a target that is not known", "10.66.0.13", PERHAPS, PERHAPS),
        ("a refusal over IPv6", "2001:db8::1", STOPS, STOPS),
        ("ports of a list over IPv6", "2001:db8::2", STOPS, PERHAPS),
        ("another client", "10.66.0.99", NONE, NONE),
    ] {
        assert_eq!(causes(&whole, from), wanted, "{row}");
        assert_eq!(causes(&alone, from), without, "{row}, without iptables");
        let is_same = from.contains(':') || wanted == AWAY;
        let wanted = if is_same { wanted } else { without };
        assert_eq!(causes(&other, from), wanted, "{row}, of another moment");
    }
    assert_eq!(whole.redirections_to(2525).len(), 1);
    let rules = |of: &Ruleset| of.chains.iter().map(|chain| chain.rules.len()).sum::<usize>();
    assert_eq!((rules(&whole), rules(&alone)), (18, 18), "none twice, none lost");
}

#[test]
fn an_extension_of_an_old_listing_may_be_anything() {
    assert_eq!(seen(&twins(&[], &json!([{"xt": null}])), &client(None)), Perhaps);
}

#[test]
fn a_target_of_the_elder_iptables_that_is_not_known_may_be_in_the_way() {
    for (target, wanted) in [("TARPIT", Perhaps), ("LOG", Passes), ("SET --add-set a src", Passes)]
    {
        let text = format!("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp -j {target}\nCOMMIT\n");
        let rules = iptables::read(&text, Families::V4);
        assert_eq!(seen(&rules, &client(None)), wanted, "{target}");
    }
}

#[test]
fn a_redirection_to_a_range_of_ports_leads_to_its_first() {
    for to in ["REDIRECT --to-ports 2626-2630", "DNAT --to-destination 10.0.0.9:2626-2630 --random"]
    {
        let text =
            format!("*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -j {to}\nCOMMIT\n");
        let rules = iptables::read(&text, Families::V4);
        assert_eq!(causes(&rules, "192.0.2.7"), ["redirected-away"], "{to}");
        assert_eq!(rules.redirections_to(2626).len(), 1, "{to}");
    }
}
