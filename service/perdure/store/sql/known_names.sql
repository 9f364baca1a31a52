-- The names of a kind that somebody uses: see the view.
select k.name from perdure.known_names as k where k.kind = %(kind)s::text order by k.name
