-- Closes the gate of NOTIFY where it is open because of one opening: what another enqueuer has opened
-- since has a later end, and stays. A row that somebody holds is passed over; its end comes by itself.
with opened as materialized (
    select name from perdure.queues
    where name = any (%(queues)s::text[]) and awaited = %(until)s::timestamptz order by name
    for no key update skip locked)
update perdure.queues as q set awaited = null from opened as o where q.name = o.name
