//! The flags that say where counts and approvals are kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Failure;
use crate::secrets::Environment;
use crate::store::{Identity, OnError, RedisOptions};

/// Where the URL stands if it holds a password. It reaches the service as other secrets do, and no agent inherits it.
pub const URL_VARIABLE: &str = "ATTACHE_STORE";

/// Where counts and approvals are kept.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct StoreFlags {
    /// Share counts and approvals with other attachés in Redis or Valkey, at redis://, rediss:// or unix://
    /// [env: ATTACHE_STORE, which a URL with a password belongs in]. Default: they are this process's own.
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// What happens to requests with a limit while the store cannot be had [default: deny].
    #[arg(long, value_name = "deny|local", env = "ATTACHE_ON_STORE_ERROR", value_parser = on_error)]
    on_store_error: Option<OnError>,
    /// How long a call to the store may take, in milliseconds [default: 20].
    #[arg(long, value_name = "MS", env = "ATTACHE_STORE_BUDGET", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    store_budget: Option<u32>,
    /// Attachés with the same one share counts and approvals [default: default].
    #[arg(long, value_name = "NAME", env = "ATTACHE_STORE_NAMESPACE")]
    store_namespace: Option<String>,
    /// The CA that the store's certificate must come from, as PEM [default: those the system trusts].
    #[arg(long, value_name = "FILE", env = "ATTACHE_STORE_CA")]
    store_ca: Option<PathBuf>,
    /// The certificate and its chain for a store that asks for one, as PEM.
    #[arg(long, value_name = "FILE", env = "ATTACHE_STORE_CERT", requires = "store_key")]
    store_cert: Option<PathBuf>,
    /// The private key of --store-cert, as PEM.
    #[arg(long, value_name = "FILE", env = "ATTACHE_STORE_KEY", requires = "store_cert")]
    store_key: Option<PathBuf>,
}

fn on_error(text: &str) -> Result<OnError, String> {
    match text {
        "deny" => Ok(OnError::Deny),
        "local" => Ok(OnError::Local),
        _ => Err("write `deny` or `local`".to_owned()),
    }
}

impl StoreFlags {
    /// What they say together; none for counts and approvals of this process's own.
    ///
    /// # Errors
    /// If something is missing, or a file cannot be read. No error repeats the URL.
    pub fn options(&self, environment: &Environment) -> Result<Option<RedisOptions>, Failure> {
        let url = match (&self.store, environment.get(URL_VARIABLE).filter(|url| !url.is_empty())) {
            (Some(url), _) => url.clone(),
            (None, Some(url)) => String::from_utf8(url.to_vec())
                .map_err(|_| Failure::usage(format!("`{URL_VARIABLE}` is no URL: it is not UTF-8")))?,
            (None, None) => return self.nowhere(),
        };
        let mut options = RedisOptions::new(url);
        if self.store.is_some() && options.has_password() {
            return Err(Failure::usage(format!(
                "`--store` holds a password, and other users can read flags: put the URL into `{URL_VARIABLE}`"
            )));
        }
        options.ca = self.store_ca.as_deref().map(|path| read("--store-ca", path)).transpose()?;
        if let (Some(certificate), Some(key)) = (&self.store_cert, &self.store_key) {
            let (certificate, key) = (read("--store-cert", certificate)?, read("--store-key", key)?);
            options.identity = Some(Identity { certificate, key });
        }
        options.on_error = self.on_store_error.unwrap_or_default();
        if let Some(budget) = self.store_budget {
            options.budget = Duration::from_millis(budget.into());
        }
        if let Some(namespace) = &self.store_namespace {
            options.namespace.clone_from(namespace);
        }
        options.check().map_err(Failure::usage)?;
        Ok(Some(options))
    }

    /// The same as flags of `serve`, which runs elsewhere. The variable's URL goes there by itself.
    pub fn for_serve(&self) -> Vec<String> {
        let mut args = Vec::new();
        let mut add = |flag: &str, value: String| args.extend([flag.to_owned(), value]);
        let path = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone()).display().to_string();
        self.store.iter().for_each(|url| add("--store", url.clone()));
        self.on_store_error.iter().for_each(|on_error| {
            let word = match on_error {
                OnError::Deny => "deny",
                OnError::Local => "local",
            };
            add("--on-store-error", word.to_owned());
        });
        self.store_budget.iter().for_each(|budget| add("--store-budget", budget.to_string()));
        self.store_namespace.iter().for_each(|namespace| add("--store-namespace", namespace.clone()));
        self.store_ca.iter().for_each(|file| add("--store-ca", path(file)));
        self.store_cert.iter().for_each(|file| add("--store-cert", path(file)));
        self.store_key.iter().for_each(|file| add("--store-key", path(file)));
        args
    }

    /// Without a URL there is nothing that the others could mean.
    fn nowhere(&self) -> Result<Option<RedisOptions>, Failure> {
        match self.for_serve().first() {
            Some(flag) => Err(Failure::usage(format!(
                "`{flag}` is given, but not where the store is: add `--store` or `{URL_VARIABLE}`"
            ))),
            None => Ok(None),
        }
    }
}

fn read(flag: &str, path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::usage(format!("`{flag} {}`: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        store: StoreFlags,
    }

    fn flags(line: &str) -> StoreFlags {
        Line::try_parse_from(std::iter::once("test").chain(line.split_whitespace())).unwrap().store
    }

    fn environment(url: Option<&str>) -> Environment {
        url.into_iter().map(|url| (URL_VARIABLE.to_owned(), url.as_bytes().to_vec())).collect()
    }

    #[test]
    fn a_url_with_a_password_stands_in_the_variable_alone() {
        let secret = "redis://attache:hunter2@store:6379/2";
        let options = flags("").options(&environment(Some(secret))).unwrap().unwrap();
        assert_eq!(options.url, secret);
        for line in [format!("--store {secret}"), "--store redis://:hunter2@store".to_owned()] {
            let error = flags(&line).options(&environment(None)).map(|_| ()).unwrap_err().message;
            assert!(error.contains(URL_VARIABLE) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn the_flag_goes_before_the_variable_and_neither_is_no_store() {
        let variable = environment(Some("redis://variable"));
        let options = flags("--store redis://flag").options(&variable).unwrap().unwrap();
        assert_eq!(options.url, "redis://flag");
        assert!(flags("").options(&environment(None)).unwrap().is_none());
        assert!(flags("").options(&environment(Some(""))).unwrap().is_none());
        for line in ["--on-store-error deny", "--store-namespace a", "--store-budget 5"] {
            assert!(flags(line).options(&environment(None)).is_err(), "{line}");
        }
    }

    #[test]
    fn the_service_is_told_all_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, name).unwrap();
            path.display().to_string()
        };
        let line = format!(
            "--store rediss://store --on-store-error local --store-budget 50 --store-namespace blue --store-ca {} \
             --store-cert {} --store-key {}",
            file("ca"),
            file("cert"),
            file("key"),
        );
        let given = flags(&line);
        assert_eq!(given.for_serve(), line.split_whitespace().collect::<Vec<_>>());
        // What stands in the files is no certificate.
        let error = given.options(&environment(None)).map(|_| ()).unwrap_err().message;
        assert!(error.contains("PEM"), "{error}");
        let plain = flags("--store redis://store --on-store-error local --store-budget 50 --store-namespace blue");
        let options = plain.options(&environment(None)).unwrap().unwrap();
        assert_eq!((options.on_error, options.budget), (OnError::Local, Duration::from_millis(50)));
        assert_eq!(options.namespace, "blue");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for line in
            ["--store http://store", "--store redis://store --store-namespace a}b", "--store redis://s --store-ca /x"]
        {
            assert!(flags(line).options(&environment(None)).is_err(), "{line}");
        }
        for line in ["--on-store-error open", "--store-budget 0", "--store-cert x"] {
            assert!(Line::try_parse_from(std::iter::once("test").chain(line.split_whitespace())).is_err(), "{line}");
        }
    }
}
