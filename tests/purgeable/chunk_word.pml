/* SPDX-License-Identifier: MIT */
/*
 * chunk_word: the protocol of src/purgeable/region.hpp for one chunk of one OS page, for spin.
 *
 * An owner offers, frees, allocates and fills; the kernel purges; PINNERS pin and look, one more copies out. Each
 * statement (or d_step) is one atomic access of the program, or one thing the kernel does at once. The page has two
 * halves that are written and copied one after the other, so that a torn copy shows. What was filled in is published,
 * as owners do in their index, and whoever uses the chunk looks there again once he has his pin.
 *
 * Promised: pinned bytes and bytes that were read as present are those that were published; a chunk is released once.
 * check_model.py proves it for all interleavings, and that each mutation below breaks it:
 *
 *   NO_WORD     an offer does not mind pins
 *   NO_WAIT     a pin does not wait for an offer that is under way
 *   NO_WITNESS  a pin dirties the page, but does not look whether it was there
 *   NO_DIRTY    a pin looks at the witness, but does not dirty the page
 *   LOOK_FIRST  a read looks at the witness before it copies
 *   STALE_NOTE  an offer that is made again leaves it noted that the page was touched
 *   NO_CLAIM    the last unpin of a condemned chunk releases it without winning a compare and swap
 *   NO_CONDEMN  free() releases a chunk though it is pinned
 */
#ifndef PINNERS
#define PINNERS 2
#endif

#define NONE 0
#define WITNESS 1
#define TOUCHED 2
#define LOST 3

/* The word. */
byte pins;
bool allocated, offered, busy, condemned;

/* The page, and whether the kernel may drop it: it was offered and not written to since. */
bool half[2]; /* 0 means purged */
bool droppable;
byte note;

bool published;     /* the owner's index says that the chunk holds what he filled in, which is 1 everywhere */
bool changed;       /* published changed since the reader looked: what is published again is something else */
bool listed = true; /* the chunk is on the list of free ones */

inline release() {
  /* busy is set, or should be */
  d_step { half[0] = 0; half[1] = 0; droppable = false };
  note = NONE;
  d_step { assert(!listed); assert(!allocated); busy = false; listed = true }
}

/* was_... are the word before the pin was added; after waiting, the word that ended the wait. */
inline add_pin() {
  d_step { was_allocated = allocated; was_offered = offered; wait = allocated && busy; pins++ };
#ifdef NO_WAIT
  wait = false;
#endif
  if
  :: wait -> d_step { !busy -> was_allocated = allocated; was_offered = offered; wait = false }
  :: else
  fi
}

inline remove_pin() {
  d_step { last = (pins == 1 && condemned); pins-- };
  if
  :: last ->
#ifdef NO_CLAIM
     d_step { condemned = false; offered = false; busy = true };
     release()
#else
     d_step {
       if
       :: condemned && pins == 0 -> condemned = false; offered = false; busy = true; claimed = true
       :: else -> claimed = false
       fi
     };
     if
     :: claimed -> release()
     :: else
     fi
#endif
  :: else
  fi;
  last = false; claimed = false
}

inline note_gone() {
  d_step { if :: note == WITNESS -> note = LOST :: else fi }
}

/* Is the page there, and will it stay? */
inline touch(here) {
  seen = note;
  if
  :: seen == LOST -> here = false
  :: seen != WITNESS && seen != LOST -> here = true
  :: seen == WITNESS ->
#ifdef NO_DIRTY
     value = half[0];
#else
     d_step { value = half[0]; droppable = false };
#endif
#ifdef NO_WITNESS
     value = 1;
#endif
     if
     :: value == 0 -> note_gone(); here = false
     :: else -> d_step { if :: note == WITNESS -> note = TOUCHED :: else fi }; here = true
     fi
  fi;
  value = 0; seen = NONE
}

/* Was it there when this was called? */
inline look(here) {
  seen = note;
  if
  :: seen == LOST -> here = false
  :: seen == WITNESS ->
     value = half[0];
     if
     :: value == 0 -> note_gone(); here = false
     :: else -> here = true
     fi
  :: else -> here = true
  fi;
  value = 0; seen = NONE
}

active proctype kernel() {
end:
  do
  :: d_step { droppable -> half[0] = 0; half[1] = 0; droppable = false }
  od
}

active [PINNERS] proctype pinner() {
  bool was_allocated, was_offered, wait, last, claimed, here, value;
  byte seen;
end:
  do
  :: published ->
     add_pin();
     if
     :: !was_allocated
     :: was_allocated && !was_offered -> here = true
     :: was_allocated && was_offered -> touch(here)
     fi;
     d_step { was_allocated = false; was_offered = false };
     if
     :: here && published -> assert(half[0] && half[1]) /* also if it is freed in between */
     :: else
     fi;
     here = false;
     remove_pin()
  od
}

active proctype reader() {
  bool was_allocated, was_offered, wait, last, claimed, here, value, copy[2];
  byte seen;
end:
  do
  :: d_step { published -> changed = false };
     add_pin();
     here = was_allocated;
     if
     :: was_allocated ->
#ifdef LOOK_FIRST
        if :: was_offered -> look(here) :: else fi;
        copy[0] = half[0]; copy[1] = half[1];
#else
        copy[0] = half[0]; copy[1] = half[1];
        if :: was_offered -> look(here) :: else fi;
#endif
     :: else
     fi;
     d_step { was_allocated = false; was_offered = false };
     remove_pin();
     d_step {
       assert(!here || changed || (copy[0] && copy[1]));
       here = false; copy[0] = 0; copy[1] = 0
     }
  od
}

active proctype owner() {
  bool done, again;
  do
  :: d_step { listed -> listed = false }; /* allocate and fill */
     allocated = true;
     half[0] = 1; half[1] = 1;
     d_step { published = true; changed = true }
  :: published -> /* offer */
     d_step {
       if
#ifdef NO_WORD
       :: allocated && !busy ->
#else
       :: allocated && !busy && pins == 0 ->
#endif
          busy = true; again = offered
       :: else -> done = true
       fi
     };
     if
     :: done
     :: !done && !again -> note = WITNESS
     :: !done && again ->
#ifdef STALE_NOTE
        skip
#else
        d_step { if :: note == TOUCHED -> note = WITNESS :: else fi }
#endif
     fi;
     again = false;
     if
     :: !done -> droppable = true; d_step { offered = true; busy = false }
     :: else
     fi;
     done = false
  :: d_step { published -> published = false; changed = true }; /* free */
     d_step {
       assert(allocated);
       if
#ifndef NO_CONDEMN
       :: pins != 0 -> allocated = false; condemned = true
#endif
       :: else -> allocated = false; offered = false; busy = true; done = true
       fi
     };
     if
     :: done -> done = false; release()
     :: else
     fi
  od
}
