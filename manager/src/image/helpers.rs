//! What the text of a template can call.
//!
//! - `{{apt "git" "jq"}}` is a whole step that installs packages of the distribution. A template
//!   may go on behind it with ` \`, a line end and ` && …`.
//! - `{{#run cache="pip"}}pip install --cache-dir /var/cache/worker …{{/run}}` is a step whose
//!   downloads lie in that folder.
//! - `{{digests}}` are the digests of the front matter as `x64=… arm64=…`.
//!
//! Both kinds of step keep their downloads outside of the image where the builder can, and remove
//! them where it cannot: the image is the same.

use handlebars::{
    Context, Handlebars, Helper, HelperDef, HelperResult, Output, RenderContext, RenderError,
    RenderErrorReason, Renderable,
};

use crate::engine::CacheMounts;

/// Where a step finds what an earlier build downloaded. The frame makes the folder, so that it is
/// there in every image, whatever the builder leaves of a mount.
const CACHE: &str = "/var/cache/worker";

/// Package files and lists lie in the cache, where the hook of Debian's images that empties apt's
/// own folders does not look.
const APT: &str = "apt-get -o Dir::Cache::archives=/var/cache/worker/archives \
                   -o Dir::State::lists=/var/cache/worker/lists";

/// A Dockerfile is no HTML: nothing is escaped. A name that is not there is a mistake.
pub(super) fn handlebars(mounts: CacheMounts) -> Handlebars<'static> {
    let mut handlebars = Handlebars::new();
    handlebars.set_strict_mode(true);
    handlebars.register_escape_fn(handlebars::no_escape);
    handlebars.register_helper("apt", Box::new(Apt(mounts)));
    handlebars.register_helper("run", Box::new(Run(mounts)));
    handlebars.register_helper("digests", Box::new(digests));
    handlebars
}

/// A step whose downloads lie in [`CACHE`].
fn step(mounts: CacheMounts, cache: &str, command: &str) -> String {
    match mounts {
        // Two builds that write to the same cache wait for each other.
        CacheMounts::Yes => format!(
            "RUN --mount=type=cache,id=worker-manager-{cache},target={CACHE},sharing=locked \\\n    {command}"
        ),
        CacheMounts::No => format!("RUN {command} \\\n && find {CACHE} -mindepth 1 -delete"),
    }
}

struct Apt(CacheMounts);

impl HelperDef for Apt {
    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let packages: Option<Vec<_>> =
            helper.params().iter().map(|param| param.value().as_str()).collect();
        let packages = packages.filter(|packages| !packages.is_empty()).ok_or_else(|| {
            mistake("`apt` takes the names of packages, each in quotes, and at least one")
        })?;
        let command = format!(
            "mkdir -p {CACHE}/archives/partial {CACHE}/lists/partial \\\n \
             && {APT} update \\\n \
             && DEBIAN_FRONTEND=noninteractive {APT} install -y --no-install-recommends {} \\\n \
             && rm -rf /var/lib/apt/lists/* /var/cache/apt/*",
            packages.join(" ")
        );
        Ok(out.write(&step(self.0, "apt", &command))?)
    }
}

struct Run(CacheMounts);

impl HelperDef for Run {
    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        registry: &'reg Handlebars<'reg>,
        context: &'rc Context,
        render: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let name = helper.hash_get("cache").and_then(|cache| cache.value().as_str());
        let cache = name.filter(|name| is_cache_name(name)).ok_or_else(|| {
            mistake("`run` takes cache=\"…\", a name of lower-case letters, digits and `-`")
        })?;
        let block = helper
            .template()
            .ok_or_else(|| mistake("`run` is a block: {{#run cache=\"…\"}}commands{{/run}}"))?;
        let command = block.renders(registry, context, render)?;
        if command.trim().is_empty() {
            return Err(mistake("`run` has no command in it"));
        }
        Ok(out.write(&step(self.0, cache, command.trim()))?)
    }
}

fn is_cache_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty() && name.bytes().all(fits)
}

fn digests(
    _: &Helper<'_>,
    _: &Handlebars<'_>,
    context: &Context,
    _: &mut RenderContext<'_, '_>,
    out: &mut dyn Output,
) -> HelperResult {
    let all = context.data().get("sha512").and_then(|digests| digests.as_object());
    let pairs = all.into_iter().flatten();
    let words: Vec<_> =
        pairs.map(|(name, digest)| format!("{name}={}", digest.as_str().unwrap_or(""))).collect();
    Ok(out.write(&words.join(" "))?)
}

fn mistake(text: &str) -> RenderError {
    RenderErrorReason::Other(text.to_owned()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rendered(mounts: CacheMounts, text: &str) -> Result<String, RenderError> {
        let data = json!({ "version": "7", "sha512": { "x64": "ab", "arm64": "cd" } });
        handlebars(mounts).render_template(text, &data)
    }

    #[test]
    fn packages_are_installed_in_one_step_that_leaves_no_downloads() {
        let text = "{{apt \"git\" \"jq\"}} \\\n && git --version";
        let classic = rendered(CacheMounts::No, text).unwrap();
        assert!(classic.starts_with("RUN mkdir -p "), "{classic}");
        assert!(classic.contains("install -y --no-install-recommends git jq \\\n"), "{classic}");
        let end = " && find /var/cache/worker -mindepth 1 -delete \\\n && git --version";
        assert!(classic.ends_with(end), "{classic}");
    }

    #[test]
    fn both_builders_run_the_same_command_but_for_the_downloads() {
        for text in ["{{apt \"git\"}}", "{{#run cache=\"pip\"}}pip install x=={{version}}{{/run}}"]
        {
            let classic = rendered(CacheMounts::No, text).unwrap();
            let cached = rendered(CacheMounts::Yes, text).unwrap();
            let (mount, command) = cached.split_once(" \\\n    ").unwrap();
            assert!(mount.starts_with("RUN --mount=type=cache,id=worker-manager-"), "{cached}");
            let cleaned =
                format!("RUN {command} \\\n && find /var/cache/worker -mindepth 1 -delete");
            assert_eq!(classic, cleaned);
        }
    }

    #[test]
    fn digests_are_told_by_name() {
        assert_eq!(rendered(CacheMounts::No, "{{digests}}").unwrap(), "arm64=cd x64=ab");
    }

    #[test]
    fn a_helper_that_is_used_in_a_wrong_way_says_how_it_is_used() {
        for (text, word) in [
            ("{{apt}}", "at least one"),
            ("{{apt 7}}", "in quotes"),
            ("{{#run}}true{{/run}}", "takes cache="),
            ("{{#run cache=\"A,b\"}}true{{/run}}", "takes cache="),
            ("{{#run cache=\"pip\"}} {{/run}}", "no command"),
            ("{{run cache=\"pip\"}}", "is a block"),
        ] {
            let error = rendered(CacheMounts::No, text).unwrap_err();
            assert!(error.to_string().contains(word), "{text}: {error}");
        }
    }
}
