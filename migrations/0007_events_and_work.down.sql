-- Drops the functions; events, revisions and turns stay.

drop trigger notify_head on public.projects;
drop function
  public.settle_turn, public.reserve_turn, public.commit_restore, public.commit_person, public.commit_template,
  public.complete_attempt, public.append_events;
drop function private.require_head, private.notify_head, private.add_revision, private.append;
