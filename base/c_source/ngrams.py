"""The C source of counting for base/native.py (locked): what followed each context of a stream, by exact keys."""

# Every index that comes from a table is masked or compared first: its arrays are Python's, and callers can be changed.
SOURCE = r"""
typedef uint16_t u16;
enum { AHEAD = 8, MOST_PAIRS = (1 << 21) - 1, LONGEST = 31, ORDERS = 8 };

static u64 scatter(u64 h) {
  h = (h ^ h >> 32) * 0x9e3779b97f4a7c15ull; h = (h ^ h >> 29) * 0xbf58476d1ce4e5b9ull;
  return h ^ h >> 32;
}
static i64 limit(u64 mask) { return (i64)(mask - mask / 8); } /* a table this full takes nothing new */

/* Hints: of each context, the token that followed it most often. A context is a stretch of a ring of symbols; it is
   known by where it ended last, and every match is verified symbol by symbol. */

typedef struct { u32 end, total, best_count; u16 best, mark; } Context; /* mark: 11 bits of hash, 5 of length */
typedef struct {
  Context *contexts; u64 *pairs; i64 *used; const u16 *ring;
  u64 context_mask, pair_mask, ring_mask;
} Hints;

static u64 hash_of(const Hints *t, i64 end, i32 length) {
  u64 h = (u64)length, other = 0;
  for (i32 k = 1; k <= length; k += 2) { /* two chains of products at a time */
    h = (h ^ t->ring[(u64)(end - k) & t->ring_mask]) * 0x9e3779b97f4a7c15ull;
    if (k < length) other = (other ^ t->ring[(u64)(end - k - 1) & t->ring_mask]) * 0xc2b2ae3d27d4eb4full;
    h ^= h >> 31;
  }
  return scatter(h ^ other << 1);
}

static int same(const Hints *t, i64 known, i64 end, i32 length) { /* what the ring may have lost matches nothing */
  if (known < length || known > end || end - known > (i64)(t->ring_mask / 2)) return 0;
  for (i32 k = 1; k <= length; k++)
    if (t->ring[(u64)(known - k) & t->ring_mask] != t->ring[(u64)(end - k) & t->ring_mask]) return 0;
  return 1;
}

static Context *find_context(const Hints *t, u64 hash, i64 end, i32 length, u16 mark) {
  u64 at = hash & t->context_mask;
  for (u64 probe = 0; probe <= t->context_mask; probe++, at = (at + 1) & t->context_mask) {
    Context *c = t->contexts + at;
    if (!c->total || (c->mark == mark && same(t, c->end, end, length))) return c;
  }
  return 0;
}

static u64 *find_pair(const Hints *t, u64 slot, u16 token) { /* 43 bits of key + 1, 21 of count */
  u64 key = (slot << 16 | token) + 1, at = scatter(key) & t->pair_mask;
  for (u64 probe = 0; probe <= t->pair_mask; probe++, at = (at + 1) & t->pair_mask)
    if (!t->pairs[at] || t->pairs[at] >> 21 == key) {
      if (!t->pairs[at]) {
        if (t->used[1] >= limit(t->pair_mask)) return 0;
        t->used[1]++; t->pairs[at] = key << 21;
      }
      return t->pairs + at;
    }
  return 0;
}

static void count_next(Hints *t, Context *c, i64 end, u16 mark, u16 next) {
  if (!c->total) {
    if (t->used[0] >= limit(t->context_mask)) return;
    t->used[0]++;
    c->total = c->best_count = 1; c->best = next; c->mark = mark;
  } else if (next == c->best) {
    if (c->best_count < MOST_PAIRS) { c->best_count++; c->total++; }
  } else { /* counts of all but the best are in the table of pairs */
    u64 slot = (u64)(c - t->contexts), *pair = find_pair(t, slot, next);
    if (pair && (*pair & MOST_PAIRS) < MOST_PAIRS) {
      u32 count = (u32)(++*pair & MOST_PAIRS);
      c->total++;
      if (count > c->best_count && (pair = find_pair(t, slot, c->best))) {
        *pair = (*pair & ~(u64)MOST_PAIRS) | c->best_count;
        c->best = next; c->best_count = count;
      }
    }
  }
  c->end = (u32)end;
}

/* For each of count contexts, ring[ends - lengths : ends]: its hint (-1: none), how often it and the context came; then
   nexts[i] is counted, unless nexts is null. Length 0 is no context. */
void hints_follow(Context *contexts, i64 context_slots, u64 *pairs, i64 pair_slots, i64 *used, const u16 *ring,
                  i64 ring_slots, const i64 *ends, const u8 *lengths, const u16 *nexts, i64 count, i32 *hints,
                  u32 *best_counts, u32 *totals) {
  Hints t = {contexts, pairs, used, ring, (u64)context_slots - 1, (u64)pair_slots - 1, (u64)ring_slots - 1};
  u64 hashes[AHEAD];
  for (i64 i = -AHEAD; i < count; i++) {
    u64 hash = i >= 0 ? hashes[i % AHEAD] : 0;
    i64 soon = i + AHEAD;
    if (soon < count && lengths[soon]) {
      hashes[soon % AHEAD] = hash_of(&t, ends[soon], lengths[soon]);
      __builtin_prefetch(t.contexts + (hashes[soon % AHEAD] & t.context_mask));
    }
    if (i < 0) continue;
    hints[i] = -1; best_counts[i] = totals[i] = 0;
    if (!lengths[i]) continue;
    u16 mark = (u16)(hash >> 53 << 5 | lengths[i]);
    Context *c = find_context(&t, hash, ends[i], lengths[i], mark);
    if (!c) continue;
    if (c->total) { hints[i] = c->best; best_counts[i] = c->best_count; totals[i] = c->total; }
    if (nexts) count_next(&t, c, ends[i], mark, nexts[i]);
  }
}

/* Back-off over orders 2 to 9: counts of what followed the last 1 to 8 tokens, which themselves are the key. */

typedef struct { u64 low, high; u32 total, types; } Gram;
typedef struct { u64 key; u32 count, unused; } Follower;
typedef struct {
  Gram *grams; Follower *followers; i64 *used; u32 *unigrams;
  u64 gram_mask, follower_mask;
  i32 orders, vocabulary, smoothing, least; /* orders: contexts of 1 to that many tokens; smoothing: SMOOTHINGS */
  double strength;
} Ngrams;
enum { DIRICHLET, WITTEN_BELL, KNESER_NEY };

static void key_of(const u16 *at, i32 length, u64 *low, u64 *high) { /* the tokens before at */
  *low = *high = 0;
  for (i32 k = 1; k <= length; k++)
    if (k <= 4) *low = *low << 16 | at[-k]; else *high = *high << 16 | at[-k];
}

static u64 gram_hash(u64 low, u64 high) { return scatter(low ^ scatter(high + 0x632be59bd9b4e019ull)); }

static Gram *find_gram(const Ngrams *t, i32 order, u64 low, u64 high) {
  Gram *table = t->grams + (u64)order * (t->gram_mask + 1);
  u64 at = gram_hash(low, high) & t->gram_mask;
  for (u64 probe = 0; probe <= t->gram_mask; probe++, at = (at + 1) & t->gram_mask)
    if (!table[at].total || (table[at].low == low && table[at].high == high)) return table + at;
  return 0;
}

static u64 follower_key(const Ngrams *t, const Gram *gram, u16 token) { /* the gram's place tells its order too */
  return ((u64)(gram - t->grams) << 16 | token) + 1;
}

static Follower *find_follower(const Ngrams *t, u64 key) {
  u64 at = scatter(key) & t->follower_mask;
  for (u64 probe = 0; probe <= t->follower_mask; probe++, at = (at + 1) & t->follower_mask)
    if (!t->followers[at].key || t->followers[at].key == key) return t->followers + at;
  return 0;
}

static double next_order(const Ngrams *t, double shorter, const Gram *gram, const Follower *follower) {
  double count = follower && follower->key ? follower->count : 0, total = gram->total, types = gram->types;
  if (t->smoothing == DIRICHLET) return (count + t->strength * shorter) / (total + t->strength);
  if (t->smoothing == WITTEN_BELL) return (count + types * shorter) / (total + types);
  return ((count > t->strength ? count - t->strength : 0) + t->strength * types * shorter) / total;
}

static double unigram(const Ngrams *t, u16 token) {
  return (t->unigrams[token] + 1.0) / ((double)t->unigrams[t->vocabulary] + t->vocabulary);
}

static void evidence_of(const Ngrams *t, Gram **grams, i32 known, u8 *order, u32 *total) {
  *order = 0; *total = 0;
  for (i32 n = known - 1; n >= 0 && !*order; n--)
    if (grams[n] && grams[n]->total >= (u32)t->least) { *order = (u8)(n + 2); *total = grams[n]->total; }
}

static void count_follower(Ngrams *t, Gram **grams, const u64 (*keys)[2], i32 known, u16 token) {
  for (i32 n = known - 1; n >= 0; n--) {
    Gram *gram = grams[n];
    if (!gram || (!gram->total && t->used[n] >= limit(t->gram_mask))) continue;
    Follower *follower = find_follower(t, follower_key(t, gram, token));
    if (!follower || (!follower->key && t->used[ORDERS] >= limit(t->follower_mask))) continue;
    if (follower->count == UINT32_MAX || gram->total == UINT32_MAX) return;
    if (!gram->total) { gram->low = keys[n][0]; gram->high = keys[n][1]; t->used[n]++; }
    if (!follower->key) { follower->key = follower_key(t, gram, token); t->used[ORDERS]++; gram->types++; }
    follower->count++; gram->total++;
    /* Kneser-Ney counts in how many longer contexts a token was seen, not how often */
    if (t->smoothing == KNESER_NEY && follower->count > 1) return;
  }
  if (t->unigrams[t->vocabulary] < UINT32_MAX) { t->unigrams[token]++; t->unigrams[t->vocabulary]++; }
}

/* Probabilities of the tokens after tokens[before:], each given those before it, then counted; of the longest context
   that came least times, its order (0: none) and how often it came. With all: of every token after the last. */
void ngrams_follow(Gram *grams, i64 gram_slots, Follower *followers, i64 follower_slots, i64 *used, u32 *unigrams,
                   i32 orders, i32 vocabulary, i32 smoothing, i32 least, double strength, const u16 *tokens,
                   i64 before, i64 count, i32 all, double *probabilities, u8 *evidence, u32 *totals) {
  Ngrams t = {grams, followers, used, unigrams, (u64)gram_slots - 1, (u64)follower_slots - 1,
              orders, vocabulary, smoothing, least, strength};
  u64 ring[AHEAD][ORDERS][2];
  i64 steps = all ? 1 : count;
  for (i64 i = -AHEAD; i < steps; i++) {
    u64 keys[ORDERS][2];
    if (i >= 0) memcpy(keys, ring[i % AHEAD], sizeof keys);
    i64 soon = i + AHEAD;
    if (soon < steps)
      for (i32 n = 0; n < t.orders && n < soon + before; n++) {
        u64 *key = ring[soon % AHEAD][n];
        key_of(tokens + before + soon, n + 1, key, key + 1);
        __builtin_prefetch(t.grams + (u64)n * (t.gram_mask + 1) + (gram_hash(key[0], key[1]) & t.gram_mask));
      }
    if (i < 0) continue;
    i32 known = i + before < t.orders ? (i32)(i + before) : t.orders;
    Gram *found[ORDERS];
    for (i32 n = 0; n < known; n++) found[n] = find_gram(&t, n, keys[n][0], keys[n][1]);
    for (i32 n = 0; n < known && !all; n++) {
      u64 at = found[n] ? scatter(follower_key(&t, found[n], tokens[before + i])) : 0;
      __builtin_prefetch(t.followers + (at & t.follower_mask));
    }
    evidence_of(&t, found, known, evidence + i, totals + i);
    for (i64 v = 0; v < (all ? t.vocabulary : 1); v++) {
      u16 token = all ? (u16)v : tokens[before + i];
      double p = unigram(&t, token);
      for (i32 n = 0; n < known; n++)
        if (found[n] && found[n]->total)
          p = next_order(&t, p, found[n], find_follower(&t, follower_key(&t, found[n], token)));
      probabilities[all ? v : i] = p;
    }
    if (!all) count_follower(&t, found, (const u64 (*)[2])keys, known, tokens[before + i]);
  }
}
"""
