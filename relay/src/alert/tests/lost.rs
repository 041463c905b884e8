//! What finds no room, here or at the gate, is counted once and said.

use super::*;

/// Waits until alerts are said to be lost; returns how many.
async fn lost(room: &Room) -> u64 {
    let said = async {
        loop {
            let listing = room.alerts.list().await.unwrap();
            if listing.lost > 0 {
                assert!(listing.recent.iter().any(|alert| alert.class == "alerts-lost"));
                return listing.lost;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, said).await.expect("it is said")
}

#[tokio::test]
async fn what_the_gate_could_not_keep_for_the_relay_is_counted_as_lost() {
    let site = Site::new("");
    let first = Timestamp::now();
    let next = first + Duration::from_secs(1);
    // Who heard of no gate before does not know what another relay told. A gate that starts begins with 1.
    // Of those before the last of each, the gate says that others said the same.
    let missing = [
        (first, 4745..=4745),
        (first, 4746..=4746),
        (first, 4749..=4749),
        (first, 4750..=4790),
        (next, 3..=9),
    ];
    let (ear, heard) = ear();
    for (series, numbers) in missing {
        let alert = Box::new(opened("gate-detached", "x").at(series));
        ear.put(Order::Gate { series, numbers, alert });
    }
    let room = site.room_of((ear, heard));
    assert_eq!(lost(&room).await, 4);
    room.alerts.end().await;
}

#[tokio::test]
async fn an_alert_of_the_gate_that_finds_no_room_is_counted_once() {
    let site = Site::new("");
    let series = Timestamp::now();
    let (ear, heard) = ear();
    let gate = |number| {
        let alert = Box::new(opened("gate-detached", "x").at(series));
        ear.put(Order::Gate { series, numbers: number..=number, alert });
    };
    gate(1);
    for _ in 1..WAITING_MAX {
        ear.hear(&full());
    }
    gate(2);
    gate(3);
    assert_eq!(ear.lost.load(Ordering::Relaxed), 0, "the gap is counted");
    let room = site.room_of((ear.clone(), heard));
    // Whoever is asked has heard all that came before.
    room.alerts.list().await.unwrap();
    gate(4);
    assert_eq!(lost(&room).await, 2);
    room.alerts.end().await;
}

#[tokio::test]
async fn what_finds_no_room_is_counted_and_said() {
    let site = Site::new("");
    let (ear, heard) = ear();
    for number in 0..WAITING_MAX + 5 {
        let login = number.to_string();
        ear.hear(&Event::ShareUsed { login });
    }
    let room = site.room_of((ear, heard));
    let lost = lost(&room).await;
    assert!(lost >= 5, "{lost}");
    room.alerts.end().await;
}
