//! The guide's pages about peers, whose code is compiled here, where the peers are.

#[cfg(doctest)]
#[doc = include_str!("../../../courteous/docs/from_backon.md")]
pub mod from_backon {}

#[cfg(doctest)]
#[doc = include_str!("../../../courteous/docs/from_governor.md")]
pub mod from_governor {}

#[cfg(doctest)]
#[doc = include_str!("../../../courteous/docs/from_reqwest_middleware.md")]
pub mod from_reqwest_middleware {}

#[cfg(doctest)]
#[doc = include_str!("../../../courteous/docs/from_tower.md")]
pub mod from_tower {}
