use std::{collections::HashSet, error::Error, fmt};

/// gRPC methods by their full names. If all methods of a service belong to the set, it is kept as
/// `/package.Service/`.
#[derive(Debug, Default)]
pub(crate) struct Methods(HashSet<Box<str>>);

impl Methods {
    /// The methods in `names`, each as `/package.Service/Method` or `/package.Service/*`.
    pub(crate) fn named<I>(names: I) -> Result<Self, InvalidMethodName>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let names = names.into_iter();
        let methods: Result<_, _> = names.map(|name| parse(name.as_ref())).collect();
        Ok(Self(methods?))
    }

    /// Whether the method that is called at `path` is in the set. A client's origin may put a
    /// prefix before its name.
    pub(crate) fn contain(&self, path: &str) -> bool {
        let Some(method) = path.rfind('/') else {
            return false;
        };
        let service = path[..method].rfind('/').unwrap_or(0);
        self.0.contains(&path[service..]) || self.0.contains(&path[service..=method])
    }
}

fn parse(name: &str) -> Result<Box<str>, InvalidMethodName> {
    let is_part = |part: &str| {
        let is_of_name = |byte: u8| byte.is_ascii_graphic() && !b"*?#%/".contains(&byte);
        !part.is_empty() && part.bytes().all(is_of_name)
    };
    let parts = name.strip_prefix('/').and_then(|name| name.split_once('/'));
    match parts {
        Some((service, "*")) if is_part(service) => Ok(format!("/{service}/").into()),
        Some((service, method)) if is_part(service) && is_part(method) => Ok(name.into()),
        _ => Err(InvalidMethodName { name: name.into() }),
    }
}

/// The error for a text that is not the full name of a gRPC method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidMethodName {
    name: Box<str>,
}

impl fmt::Display for InvalidMethodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not the full name of a gRPC method: write `/package.Service/Method`, \
             or `/package.Service/*` for all methods of a service",
            self.name
        )
    }
}

impl Error for InvalidMethodName {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_known_by_its_full_name_or_by_its_service() {
        let methods = Methods::named(["/shop.Catalog/Get", "/shop.v2.Search/*", "/Bare/Read"]);
        let methods = methods.unwrap();
        for (path, is_one) in [
            ("/shop.Catalog/Get", true),
            ("/shop.Catalog/GetAll", false),
            ("/shop.Catalog/get", false),
            ("/shop.Catalog/Buy", false),
            ("/shop.Catalog/", false),
            ("/shop.v2.Search/Find", true),
            ("/shop.v2.Searching/Find", false),
            ("/Search/Find", false),
            ("/Bare/Read", true),
            // The origin of the client has a path.
            ("/eu/shop.Catalog/Get", true),
            ("/shop.Catalog/Get/More", false),
            ("/", false),
            ("", false),
            ("Get", false),
            ("*", false),
        ] {
            assert_eq!(methods.contain(path), is_one, "{path}");
        }
        assert!(!Methods::default().contain("/shop.Catalog/Get"));
    }

    #[test]
    fn a_malformed_name_is_rejected() {
        for name in [
            "",
            "/",
            "//",
            "Get",
            "/Get",
            "shop.Catalog/Get",
            "shop.Catalog.Get",
            "/shop.Catalog/",
            "//Get",
            "/shop.Catalog/Get/",
            "/eu/shop.Catalog/Get",
            "/shop.*/Get",
            "/shop.Catalog/Get*",
            "/*/*",
            "/shop.Catalog/Get ",
            "/shop.Catalog/Get?a=b",
            "https://api.example/shop.Catalog/Get",
        ] {
            let error = Methods::named(["/a.B/C", name]).unwrap_err();
            assert!(error.to_string().starts_with(&format!("{name:?} is not")));
        }
    }
}
