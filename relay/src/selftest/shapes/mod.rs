//! The battery: connection attempts and what resembles them, in every shape that a filter is likely to miss.

mod v4;
mod v6;

use std::sync::Arc;

use super::craft::Ends;

/// What makes the frames of a shape.
type Make = Arc<dyn Fn(&Ends) -> Vec<Vec<u8>> + Send + Sync>;

/// One shape: the frames that are sent one after the other.
#[derive(Clone)]
pub struct Shape {
    /// What it is, for people.
    pub name: String,
    /// Whether it has more tags than the gate takes off, so that it is dropped whoever sends it.
    pub is_too_deep: bool,
    make: Make,
}

impl Shape {
    fn one(
        name: impl Into<String>,
        make: impl Fn(&Ends) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        Self::many(name, move |ends| vec![make(ends)])
    }

    fn many(
        name: impl Into<String>,
        make: impl Fn(&Ends) -> Vec<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), is_too_deep: false, make: Arc::new(make) }
    }

    fn too_deep(self, is_too_deep: bool) -> Self {
        Self { is_too_deep, ..self }
    }

    /// Returns its frames.
    #[must_use]
    pub fn frames(&self, ends: &Ends) -> Vec<Vec<u8>> {
        (self.make)(ends)
    }
}

/// Returns every shape.
#[must_use]
pub fn all() -> Vec<Shape> {
    [
        v4::segments(),
        v4::headers(),
        v4::fragments(),
        v4::tags(),
        v6::headers(),
        v6::chains(),
        v6::fragments(),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn ends() -> Ends {
        Ends {
            hardware: [[2; 6], [4; 6]],
            source: (Ipv4Addr::new(192, 0, 2, 99), Ipv6Addr::LOCALHOST),
            target: (Ipv4Addr::new(192, 0, 2, 1), Ipv6Addr::UNSPECIFIED),
            source_port: 20_000,
            port: 2525,
        }
    }

    #[test]
    fn there_are_many_shapes_and_no_two_are_the_same() {
        let shapes = all();
        assert!(shapes.len() >= 100, "{}", shapes.len());
        let names: BTreeSet<&str> = shapes.iter().map(|shape| shape.name.as_str()).collect();
        assert_eq!(names.len(), shapes.len());
        let frames: BTreeSet<Vec<Vec<u8>>> =
            shapes.iter().map(|shape| shape.frames(&ends())).collect();
        assert_eq!(frames.len(), shapes.len(), "every shape is another");
    }

    #[test]
    fn every_frame_fits_onto_an_ethernet() {
        for shape in all() {
            for frame in shape.frames(&ends()) {
                assert!((34..=1514).contains(&frame.len()), "{}: {}", shape.name, frame.len());
            }
        }
    }
}
