-- Says for the whole cluster whether a constraint holds; null takes the word back, so that only probes of
-- that name say it. Each worker has it at once, and where it has a probe, too, both must hold. Answers
-- changed or unchanged.
create function perdure.set_constraint(name text, satisfied boolean default null) returns text
    language plpgsql security definer set search_path = pg_catalog, perdure, pg_temp as $$
#variable_conflict use_column
begin
    if set_constraint.name is null or perdure.bad_words(array[set_constraint.name], 1) then
        perform perdure.refuse('PD004|a constraint has a name of 1 to 128 characters|such as network:payments');
    end if;
    if set_constraint.satisfied is null then
        delete from perdure.constraints as c where c.name = set_constraint.name;
    else
        insert into perdure.constraints as c (name, satisfied)
        values (set_constraint.name, set_constraint.satisfied)
        on conflict (name) do update set satisfied = excluded.satisfied, changed_at = clock_timestamp()
        where c.satisfied <> excluded.satisfied;
    end if;
    if not found then
        return 'unchanged';
    end if;
    insert into perdure.audit (action, details) values ('set_constraint',
        jsonb_build_object('constraint', set_constraint.name, 'satisfied', set_constraint.satisfied));
    perform pg_notify(perdure.channel() || '_mail', '');
    return 'changed';
end $$;
