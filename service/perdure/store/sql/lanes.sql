-- The lanes of the names that this worker serves.
select l.id, l.queue, l.name, l.requires, l.limited from perdure.lanes as l
where l.name = any (%(names)s::text[]) order by l.id
