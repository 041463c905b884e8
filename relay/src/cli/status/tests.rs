use super::*;
use crate::config::Config;
use crate::control::health::Health;

#[test]
fn processes_that_hang_are_waited_for_side_by_side_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let socket = |name: &str| folder.path().join(name);
    let silent =
        ["gate", "relay"].map(|name| std::os::unix::net::UnixListener::bind(socket(name)).unwrap());
    let text = format!(
        "hostname = 'relay.example.net'\npostmaster = 'ops@example.net'\n\
         [gate]\ninterfaces = ['eth0']\nsocket = '{}'\n[relay]\nsocket = '{}'\n\
         [[listener]]\naddress = '[::]:2525'\n",
        socket("gate").display(),
        socket("relay").display()
    );
    let config = Config::parse(&text).unwrap_or_else(|problems| panic!("{problems:?}"));
    let Whole { judgement, .. } = look(&Reach::from(&config));
    assert_eq!(judgement.health, Health::NotServing);
    let wanted = ["gate", "relay"].map(|process| {
        format!(
            "the {process} does not answer within 2 s; see `sallyport doctor` and `journalctl -u \
             sallyport-{process}`"
        )
    });
    assert_eq!(judgement.problems, wanted);
    drop(silent);
}
