-- Who may do what. Applied at the end of each migrate, and by `perdure grant`, to every login in access.
-- What this revision of the schema does not have yet is passed over, so one file serves them all. The owner
-- is left alone: it may do everything, and taking that back would break the functions that run as it.
-- PUBLIC gets EXECUTE of every new function from PostgreSQL; default privileges of a schema cannot refuse
-- it, so it is taken back here, in the transaction that made the function.
revoke all on all routines in schema perdure from public;

do $grants$
declare
    home constant pg_namespace := (
        select n from pg_namespace as n where n.oid = (
            select c.relnamespace from pg_class as c where c.oid = 'access'::regclass));
    entry record;
    act text;
begin
    for entry in
        select a.login, r.oid, array_agg(a.role) as roles
        from access as a left join pg_roles as r on r.rolname = a.login
        where r.oid is distinct from home.nspowner
        group by a.login, r.oid order by a.login
    loop
        if entry.oid is null then
            raise warning 'login % has been dropped: its grants are skipped', quote_ident(entry.login);
            continue;
        end if;

        -- A clean slate: what an older revision gave and this one does not, goes.
        for act in
            select format('revoke all on %s %s from %I',
                case c.relkind when 'S' then 'sequence' else 'table' end, c.oid::regclass, entry.login)
            from pg_class as c
            where c.relnamespace = home.oid and (
                exists (select from aclexplode(c.relacl) as x where x.grantee = entry.oid)
                or exists (
                    select from pg_attribute as t cross join aclexplode(t.attacl) as x
                    where t.attrelid = c.oid and x.grantee = entry.oid))
            union all
            select format('revoke all on routine %s from %I', p.oid::regprocedure, entry.login)
            from pg_proc as p
            where p.pronamespace = home.oid
                and exists (select from aclexplode(p.proacl) as x where x.grantee = entry.oid)
            union all
            select format('revoke all on schema %I from %I', home.nspname, entry.login)
            union all
            select format('grant usage on schema %I to %I', home.nspname, entry.login)
        loop
            execute act;
        end loop;

        for act in
            with relations (roles, privilege, names, columns) as (values
                -- Producers write the ledger's public columns, through the parent only; the id is
                -- readable because an ORM asks for it back. Everything else goes through functions.
                ('{producer,worker}', 'insert', '{tasks}', '{name,metadata,queue,priority,run_at,tags,requires,headers,max_retries,expires_at,deadline_at}'),
                ('{producer}', 'select', '{tasks}', '{id}'),
                ('{producer,worker}', 'usage', '{tasks_id_seq}', null),
                ('{worker}', 'select', '{tasks,alarms}', null),
                -- Places: a worker takes tasks out; only admit and place put them in.
                ('{worker}', 'select, update, delete', '{ready,waiting}', null),
                ('{worker}', 'select, insert, update, delete', '{leases,progress,mail,edges,unique_keys,workers,statistics}', null),
                ('{worker}', 'usage', '{mail_id_seq}', null),
                -- Ledgers: appended, never changed.
                ('{worker}', 'select, insert', '{attempts,outcomes}', null),
                ('{worker}', 'select, insert, update', '{lanes,task_types}', null),
                ('{worker}', 'select, insert', '{queues}', null),
                ('{worker}', 'update', '{queues}', '{awaited,depth,sampled_at}'),
                ('{worker,reader,operator}', 'select', '{settings,schema_version,task_states,queue_states,schedule_states,fires,misplaced_tasks,unserved_tasks,constraint_states,known_names}', null),
                ('{worker,operator}', 'select', '{schedules,worker_states}', null), ('{operator}', 'select', '{access,audit}', null)
            ), routines (roles, names) as (values
                ('{producer,worker,operator}', '{enqueue,enqueue_many,enqueue_on_change,task,cancel,retry,proceed,proceed_waiting,repeat,run_now,update_task,history}'),
                ('{producer,worker,reader,operator}', '{queue_depth}'),
                -- Views read tables as their owner, but call functions as who reads them.
                ('{worker,reader,operator}', '{joined,misplaced,unserved}'),
                ('{worker,operator}', '{cancel_where,reschedule_where,retry_where,set_queue,prune,prune_after,put_schedule,pause_schedule,resume_schedule,run_schedule,override_next,delete_schedule}'),
                -- In the caller's own transaction: the lease id is the permission.
                ('{producer,worker}', '{fence,checkpoint,complete}'),
                ('{worker}', '{beat,channel,drop_range,end_session,fire,hand_back,inputs,keep_ranges,obey,place,promote,prune_fires,report_unserved}'),
                ('{worker}', '{recover,register_types,relane,retire,retire_by_name,separate,serve_openings,settle,take_upkeep}'),
                ('{operator}', '{drain_worker,erase,pause_queue,repair,resume_queue,set_constraint}')
            )
            select format('grant %s on %s %s to %I',
                case when w.columns is null then w.privilege else w.privilege || (
                    select '(' || string_agg(quote_ident(t.attname), ', ' order by t.attnum) || ')'
                    from pg_attribute as t
                    where t.attrelid = c.oid and t.attname = any(w.columns::text[])) end,
                case c.relkind when 'S' then 'sequence' else 'table' end, c.oid::regclass, entry.login)
            from relations as w
            join pg_class as c on c.relnamespace = home.oid and c.relname = any(w.names::text[])
            where entry.roles && w.roles::text[]
            union all
            select format('grant execute on routine %s to %I', p.oid::regprocedure, entry.login)
            from routines as w
            join pg_proc as p on p.pronamespace = home.oid and p.proname = any(w.names::text[])
            where entry.roles && w.roles::text[]
        loop
            execute act;
        end loop;
    end loop;
end
$grants$;
