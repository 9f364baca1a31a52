-- Every schedule, for people.
select s.key, s.name, s.state, s.problem, s.trigger, s.jitter, s.flex, s.misfire_grace, s.expires_after, s.catch_up,
    s.max_catch_up, s.overlap, s.queue, s.priority, s.tags, s.requires, s.max_retries, s.next_fire_at, s.override_at,
    s.last_fire_at, s.live, s.fired, s.coalesced, s.missed, s.skipped, s.manual, s.generation, s.declared, s.put_by,
    s.created_at, s.updated_at
from perdure.schedule_states as s order by s.key
