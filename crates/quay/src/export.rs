//! What a running Quay holds, in the words in which a lab declares it: `quay_users` and `quay_organizations`.
//!
//! Passwords, robots' tokens and what cannot be read back is left out. What quaylab gives by itself is too: the permissions of who
//! asks, since they are given anew to whoever applies it.

use serde::Serialize;

use super::api::QuayError;
use super::http::{Http, percent};
use super::rest::Rest;
use crate::value::Value;

/// All of it, as a file of variables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Holdings {
    #[serde(skip_serializing_if = "Vec::is_empty", rename = "quay_users")]
    pub users: Vec<UserEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty", rename = "quay_organizations")]
    pub organizations: Vec<OrganizationEntry>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct UserEntry {
    pub username: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct OrganizationEntry {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// A duration such as `2w`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_machine_expiration: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_cache: Option<CacheEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub robots: Vec<RobotEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub teams: Vec<TeamEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub default_permissions: Vec<DefaultEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<RepositoryEntry>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CacheEntry {
    pub registry: String,
    pub expiration: String,
    #[serde(skip_serializing_if = "is_not")]
    pub insecure: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RobotEntry {
    /// Without the organization.
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TeamEntry {
    pub name: String,
    pub role: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DefaultEntry {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub role: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creator: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RepositoryEntry {
    /// Without the organization.
    pub name: String,
    pub visibility: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub perms: Vec<PermissionEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<MirrorEntry>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PermissionEntry {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub role: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct MirrorEntry {
    pub external_reference: String,
    /// Without the organization.
    pub robot: String,
    pub image_tags: Vec<String>,
    pub sync_interval: String,
    pub verify_tls: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_not(given: &bool) -> bool {
    !given
}

/// Reads all that who asks may see. A superuser sees all organizations and users; anybody else their own organizations.
pub async fn export<H: Http>(quay: &Rest<H>) -> Result<Holdings, QuayError> {
    let own = text(&quay.get("user/").await?.unwrap_or_default(), "username").unwrap_or_default();
    let mut holdings = Holdings::default();
    for user in all_users(quay).await? {
        let given = user.get("super_user").and_then(Value::as_bool) == Some(true);
        match text(&user, "username") {
            // Superusers are made with Quay itself.
            Some(username) if !given && username != own => {
                holdings.users.push(UserEntry { username, email: address(&user) });
            }
            _ => {}
        }
    }
    holdings.users.sort_by(|a, b| a.username.cmp(&b.username));
    for name in organizations(quay).await? {
        holdings.organizations.extend(organization(quay, &name, &own).await?);
    }
    Ok(holdings)
}

/// Empty for those who may not ask.
async fn all_users<H: Http>(quay: &Rest<H>) -> Result<Vec<Value>, QuayError> {
    pages(quay, "superuser/users/", "users").await
}

async fn organizations<H: Http>(quay: &Rest<H>) -> Result<Vec<String>, QuayError> {
    let mut all = pages(quay, "superuser/organizations/", "organizations").await?;
    if all.is_empty() {
        all = list(&quay.get("user/").await?.unwrap_or_default(), "organizations");
    }
    let mut names: Vec<String> = all.iter().filter_map(|organization| text(organization, "name")).collect();
    names.sort();
    Ok(names)
}

/// `None` where who asks may not see it.
async fn organization<H: Http>(
    quay: &Rest<H>,
    name: &str,
    own: &str,
) -> Result<Option<OrganizationEntry>, QuayError> {
    let path = format!("organization/{}", percent(name, false));
    let Some(held) = quay.get(&path).await? else { return Ok(None) };
    let mut entry = OrganizationEntry {
        name: name.to_owned(),
        email: address(&held),
        time_machine_expiration: held.get("tag_expiration_s").and_then(Value::as_u64).map(duration),
        proxy_cache: cache(quay, &path).await?,
        ..OrganizationEntry::default()
    };
    let robots = optional(quay, &format!("{path}/robots?token=false&permissions=false")).await?;
    entry.robots = list(&robots, "robots")
        .iter()
        .filter_map(|robot| {
            let name = text(robot, "name")?;
            let short = name.split_once('+').map_or(name.as_str(), |(_, short)| short).to_owned();
            Some(RobotEntry { name: short, description: text(robot, "description") })
        })
        .collect();
    entry.robots.sort_by(|a, b| a.name.cmp(&b.name));
    for (team, described) in held.get("teams").and_then(Value::as_object).into_iter().flatten() {
        let members = optional(quay, &format!("{path}/team/{}/members", percent(team, false))).await?;
        let names = list(&members, "members").iter().filter_map(|member| text(member, "name")).collect();
        let team = TeamEntry {
            name: team.clone(),
            role: text(described, "role").unwrap_or_else(|| "member".to_owned()),
            description: text(described, "description"),
            members: others(names, own),
        };
        // Quay makes the owners by itself, with who made the organization.
        entry.teams.extend(Some(team).filter(|team| team.name != "owners" || !team.members.is_empty()));
    }
    let prototypes = optional(quay, &format!("{path}/prototypes")).await?;
    entry.default_permissions =
        list(&prototypes, "prototypes").iter().filter_map(default_permission).collect();
    entry.repositories = repositories(quay, name, own).await?;
    Ok(Some(entry))
}

async fn cache<H: Http>(quay: &Rest<H>, path: &str) -> Result<Option<CacheEntry>, QuayError> {
    let held = optional(quay, &format!("{path}/proxycache")).await?;
    let Some(registry) = text(&held, "upstream_registry") else { return Ok(None) };
    Ok(Some(CacheEntry {
        registry,
        expiration: duration(held.get("expiration_s").and_then(Value::as_u64).unwrap_or(86_400)),
        insecure: held.get("insecure").and_then(Value::as_bool).unwrap_or(false),
    }))
}

fn default_permission(prototype: &Value) -> Option<DefaultEntry> {
    let delegate = prototype.get("delegate")?;
    Some(DefaultEntry {
        name: text(delegate, "name")?,
        kind: text(delegate, "kind").unwrap_or_else(|| "user".to_owned()),
        role: text(prototype, "role")?,
        creator: prototype.get("activating_user").and_then(|user| text(user, "name")),
    })
}

async fn repositories<H: Http>(
    quay: &Rest<H>,
    namespace: &str,
    own: &str,
) -> Result<Vec<RepositoryEntry>, QuayError> {
    let mut entries = Vec::new();
    let path = format!("repository?namespace={}", percent(namespace, false));
    for repository in pages(quay, &path, "repositories").await? {
        entries.extend(self::repository(quay, namespace, &repository, own).await?);
    }
    entries.sort_by(|a: &RepositoryEntry, b| a.name.cmp(&b.name));
    Ok(entries)
}

async fn repository<H: Http>(
    quay: &Rest<H>,
    namespace: &str,
    listed: &Value,
    own: &str,
) -> Result<Option<RepositoryEntry>, QuayError> {
    let Some(name) = text(listed, "name") else { return Ok(None) };
    let path = format!("repository/{}", percent(&format!("{namespace}/{name}"), true));
    let mut perms = Vec::new();
    for kind in ["user", "team"] {
        let answer = optional(quay, &format!("{path}/permissions/{kind}/")).await?;
        let held = answer.get("permissions").and_then(Value::as_object).cloned().unwrap_or_default();
        perms.extend(held.iter().filter(|(name, _)| kind != "user" || name.as_str() != own).filter_map(
            |(name, permission)| {
                let role = text(permission, "role")?;
                Some(PermissionEntry { name: name.clone(), kind: kind.to_owned(), role })
            },
        ));
    }
    let mirror = match text(listed, "state").as_deref() {
        Some("MIRROR") => mirror(&optional(quay, &format!("{path}/mirror")).await?),
        _ => None,
    };
    let public = listed.get("is_public").and_then(Value::as_bool).unwrap_or(false);
    Ok(Some(RepositoryEntry {
        name,
        visibility: if public { "public" } else { "private" }.to_owned(),
        description: text(listed, "description"),
        perms,
        mirror,
    }))
}

fn mirror(held: &Value) -> Option<MirrorEntry> {
    let robot = text(held, "robot_username")?;
    let tags = held.get("root_rule").and_then(|rule| rule.get("rule_value")).and_then(Value::as_array);
    let judged = held.get("external_registry_config").and_then(|way| way.get("verify_tls"));
    Some(MirrorEntry {
        external_reference: text(held, "external_reference")?,
        robot: robot.split_once('+').map_or(robot.as_str(), |(_, short)| short).to_owned(),
        image_tags: tags.into_iter().flatten().filter_map(|tag| tag.as_str().map(str::to_owned)).collect(),
        sync_interval: duration(held.get("sync_interval").and_then(Value::as_u64).unwrap_or(86_400)),
        verify_tls: judged.and_then(Value::as_bool).unwrap_or(true),
        username: text(held, "external_registry_username"),
    })
}

/// All entries of a list that may come in pages.
async fn pages<H: Http>(quay: &Rest<H>, path: &str, name: &str) -> Result<Vec<Value>, QuayError> {
    let mut all = Vec::new();
    let mut next: Option<String> = None;
    loop {
        let joint = if path.contains('?') { '&' } else { '?' };
        let page = next.as_ref().map(|token| format!("{joint}next_page={}", percent(token, false)));
        let answer = optional(quay, &format!("{path}{}", page.unwrap_or_default())).await?;
        all.extend(list(&answer, name));
        let following = text(&answer, "next_page");
        // The same page again would go on without end.
        if following.is_none() || following == next {
            return Ok(all);
        }
        next = following;
    }
}

/// What is at a path; nothing where a feature is off, or who asks may not see it.
async fn optional<H: Http>(quay: &Rest<H>, path: &str) -> Result<Value, QuayError> {
    match quay.get(path).await {
        Err(QuayError::Refused { status: 401 | 403, .. } | QuayError::Off { .. }) | Ok(None) => {
            Ok(Value::Null)
        }
        Ok(Some(value)) => Ok(value),
        Err(other) => Err(other),
    }
}

fn others(names: Vec<String>, own: &str) -> Vec<String> {
    let mut names: Vec<String> = names.into_iter().filter(|name| name != own).collect();
    names.sort();
    names
}

fn list(value: &Value, name: &str) -> Vec<Value> {
    value.get(name).and_then(Value::as_array).cloned().unwrap_or_default()
}

fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// An address; where there is none Quay keeps a word of its own.
fn address(value: &Value) -> Option<String> {
    text(value, "email").filter(|email| email.contains('@'))
}

/// Seconds in the largest unit that says them exactly.
fn duration(seconds: u64) -> String {
    for (unit, length) in [("w", 604_800), ("d", 86_400), ("h", 3600), ("m", 60)] {
        if seconds > 0 && seconds.is_multiple_of(length) {
            return format!("{}{unit}", seconds / length);
        }
    }
    format!("{seconds}s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_said_in_the_largest_unit() {
        for (seconds, said) in
            [(0, "0s"), (90, "90s"), (120, "2m"), (7200, "2h"), (86_400, "1d"), (1_209_600, "2w")]
        {
            assert_eq!(duration(seconds), said);
        }
    }
}
