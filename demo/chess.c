/* A small chess program that plays against itself: 0x88 board, alpha-beta with quiescence, material and
   piece-square evaluation. It needs no C library and imports three functions of WASI preview 1.

   Many short functions call each other very often, which is what tiering by calls is made for.

   chess.wasm [PLIES [DEPTH]]     plays PLIES half moves (default 24) searching DEPTH deep (default 4)
   chess.wasm perft DEPTH         counts move sequences from the start, for checking the rules

   Rebuild with the command in demo/README.md. */

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

#define IMPORT(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(#name)))
typedef struct { const char *at; u32 len; } iovec;
IMPORT(fd_write) int fd_write(int fd, const iovec *iov, u32 count, u32 *written);
IMPORT(args_sizes_get) int args_sizes_get(u32 *count, u32 *bytes);
IMPORT(args_get) int args_get(char **argv, char *buffer);

/* --- output ------------------------------------------------------------------------------------------------- */

static char out[1 << 16];
static u32 out_len;

static void flush(void) {
    iovec v = {out, out_len};
    u32 written;
    while (v.len && fd_write(1, &v, 1, &written) == 0) { v.at += written; v.len -= written; }
    out_len = 0;
}
static void put(char c) {
    if (out_len == sizeof out) flush();
    out[out_len++] = c;
}
static void text(const char *s) { while (*s) put(*s++); }
static void number(u64 n) {
    if (n >= 10) number(n / 10);
    put('0' + n % 10);
}

/* --- board -------------------------------------------------------------------------------------------------- */

enum { EMPTY, PAWN, KNIGHT, BISHOP, ROOK, QUEEN, KING, BLACK = 8 };
enum { NORMAL, DOUBLE, EN_PASSANT, CASTLE, PROMOTE };
typedef struct { u8 from, to, kind, promotion; } Move;
typedef struct { u8 captured, castling, en_passant; int fifty; u64 key; } Undo;

static u8 board[128];
static int side;          /* 0 white, 8 black */
static u8 castling;       /* 1 white king side, 2 white queen side, 4 and 8 black */
static u8 en_passant;     /* the square behind a pawn that has just advanced by two, or 0x7f */
static u8 king_at[2];
static int fifty, score;  /* score: white minus black, kept up to date move by move */
static u64 key, keys[1024];
static int played;
static u64 nodes;

static const int value[7] = {0, 100, 320, 330, 500, 900, 0};
static const signed char steps[7][8] = {{0}, {0}, {33, 31, 18, 14, -33, -31, -18, -14}, {17, 15, -17, -15},
    {16, -16, 1, -1}, {17, 15, -17, -15, 16, -16, 1, -1}, {17, 15, -17, -15, 16, -16, 1, -1}};
static const u8 step_count[7] = {0, 0, 8, 4, 4, 8, 8};
static u8 rights_kept[128];

static int off_board(int square) { return square & 0x88; }
static int type_of(int piece) { return piece & 7; }
static int side_of(int piece) { return piece & BLACK; }

/* What a piece is worth on a square, from its own side: material, a pull to the centre, pawns forward, kings home. */
static int worth(int piece, int square) {
    int rank = square >> 4, file = square & 7;
    if (side_of(piece)) rank = 7 - rank;
    int df = file < 4 ? file : 7 - file, dr = rank < 4 ? rank : 7 - rank;
    int v = value[type_of(piece)];
    switch (type_of(piece)) {
    case PAWN: v += rank * rank * 2 + (df == 3 ? 4 * rank : 0); break;
    case KNIGHT: v += 6 * (df + dr) - 20; break;
    case BISHOP: v += 4 * (df + dr) - 8; break;
    case ROOK: v += (rank == 6) * 20 + df * 2; break;
    case QUEEN: v += df + dr; break;
    case KING: v += rank == 0 ? 10 - df * 6 : -20 - 10 * dr; break;
    }
    return side_of(piece) ? -v : v;
}

static u64 hash(int piece, int square) {
    u64 x = (u64)(piece * 128 + square + 1) * 0x9e3779b97f4a7c15ull;
    x ^= x >> 29; x *= 0xbf58476d1ce4e5b9ull; x ^= x >> 32;
    return x;
}

static void place(int square, int piece) {
    board[square] = piece;
    score += worth(piece, square);
    key ^= hash(piece, square);
    if (type_of(piece) == KING) king_at[side_of(piece) >> 3] = square;
}
static void lift(int square) {
    score -= worth(board[square], square);
    key ^= hash(board[square], square);
    board[square] = EMPTY;
}

static int attacked(int square, int by) {
    int pawn_from = by ? 16 : -16;
    for (int d = -1; d <= 1; d += 2) {
        int s = square + pawn_from + d;
        if (!off_board(s) && board[s] == (PAWN | by)) return 1;
    }
    for (int i = 0; i < 8; i++) {
        int s = square + steps[KNIGHT][i];
        if (!off_board(s) && board[s] == (KNIGHT | by)) return 1;
    }
    for (int i = 0; i < 8; i++) {
        int step = steps[QUEEN][i], slider = i < 4 ? BISHOP : ROOK, distance = 1;
        for (int s = square + step; !off_board(s); s += step, distance++) {
            int piece = board[s];
            if (!piece) continue;
            if (side_of(piece) == by) {
                int t = type_of(piece);
                if (t == slider || t == QUEEN || (t == KING && distance == 1)) return 1;
            }
            break;
        }
    }
    return 0;
}
static int in_check(int who) { return attacked(king_at[who >> 3], who ^ BLACK); }

static void make(Move m, Undo *u) {
    int piece = board[m.from];
    u->castling = castling; u->en_passant = en_passant; u->fifty = fifty; u->key = key;
    u->captured = board[m.to];
    fifty = (type_of(piece) == PAWN || u->captured) ? 0 : fifty + 1;
    if (u->captured) lift(m.to);
    lift(m.from);
    place(m.to, m.kind == PROMOTE ? m.promotion | side : piece);
    if (m.kind == EN_PASSANT) lift(m.to ^ 16);
    if (m.kind == CASTLE) {
        int king_side = m.to > m.from, rook_from = king_side ? m.to + 1 : m.to - 2, rook_to = king_side ? m.to - 1 : m.to + 1;
        lift(rook_from);
        place(rook_to, ROOK | side);
    }
    en_passant = m.kind == DOUBLE ? m.to ^ 16 : 0x7f;
    castling &= rights_kept[m.from] & rights_kept[m.to];
    side ^= BLACK;
    key ^= hash(16 + castling, en_passant) ^ hash(16 + u->castling, u->en_passant) ^ 0x5bf03635ull;
    keys[played++ & 1023] = u->key;
}
static void unmake(Move m, const Undo *u) {
    side ^= BLACK;
    played--;
    int piece = m.kind == PROMOTE ? PAWN | side : board[m.to];
    lift(m.to);
    place(m.from, piece);
    if (u->captured) place(m.to, u->captured);
    if (m.kind == EN_PASSANT) place(m.to ^ 16, PAWN | (side ^ BLACK));
    if (m.kind == CASTLE) {
        int king_side = m.to > m.from, rook_from = king_side ? m.to + 1 : m.to - 2, rook_to = king_side ? m.to - 1 : m.to + 1;
        lift(rook_to);
        place(rook_from, ROOK | side);
    }
    castling = u->castling; en_passant = u->en_passant; fifty = u->fifty; key = u->key;
}

/* --- moves -------------------------------------------------------------------------------------------------- */

static Move *add(Move *list, int from, int to, int kind, int promotion) {
    *list = (Move){from, to, kind, promotion};
    return list + 1;
}
static Move *add_pawn(Move *list, int from, int to, int kind) {
    if (to >> 4 != 0 && to >> 4 != 7) return add(list, from, to, kind, 0);
    for (int p = QUEEN; p >= KNIGHT; p--) list = add(list, from, to, PROMOTE, p);
    return list;
}
static Move *pawn_moves(Move *list, int from, int captures_only) {
    int up = side ? -16 : 16, home = side ? 6 : 1, to = from + up;
    if (!board[to] && (!captures_only || to >> 4 == 0 || to >> 4 == 7)) list = add_pawn(list, from, to, NORMAL);
    if (!captures_only && !board[to] && from >> 4 == home && !board[to + up]) list = add(list, from, to + up, DOUBLE, 0);
    for (int d = -1; d <= 1; d += 2) {
        int s = to + d;
        if (off_board(s)) continue;
        if (board[s] && side_of(board[s]) != side) list = add_pawn(list, from, s, NORMAL);
        if (s == en_passant) list = add(list, from, s, EN_PASSANT, 0);
    }
    return list;
}
static Move *castling_moves(Move *list, int king) {
    int rights = side ? castling >> 2 : castling;
    if (!(rights & 3) || in_check(side)) return list;
    if (rights & 1 && !board[king + 1] && !board[king + 2] && !attacked(king + 1, side ^ BLACK)) list = add(list, king, king + 2, CASTLE, 0);
    if (rights & 2 && !board[king - 1] && !board[king - 2] && !board[king - 3] && !attacked(king - 1, side ^ BLACK))
        list = add(list, king, king - 2, CASTLE, 0);
    return list;
}
static Move *piece_moves(Move *list, int from, int type, int captures_only) {
    for (int i = 0; i < step_count[type]; i++) {
        for (int to = from + steps[type][i]; !off_board(to); to += steps[type][i]) {
            int there = board[to];
            if (there ? side_of(there) != side : !captures_only) list = add(list, from, to, NORMAL, 0);
            if (there || type == KNIGHT || type == KING) break;
        }
    }
    return list;
}
static int generate(Move *list, int captures_only) {
    Move *end = list;
    for (int s = 0; s < 128; s++) {
        if (off_board(s)) { s += 7; continue; }
        int piece = board[s];
        if (!piece || side_of(piece) != side) continue;
        end = type_of(piece) == PAWN ? pawn_moves(end, s, captures_only) : piece_moves(end, s, type_of(piece), captures_only);
        if (type_of(piece) == KING && !captures_only) end = castling_moves(end, s);
    }
    return (int)(end - list);
}

/* --- search ------------------------------------------------------------------------------------------------- */

static int evaluate(void) { return side ? -score : score; }

static int gain(Move m) {
    int g = m.kind == PROMOTE ? value[m.promotion] : 0;
    return board[m.to] ? g + 16 * value[type_of(board[m.to])] - value[type_of(board[m.from])] : g;
}
static void best_first(Move *list, int i, int count) {
    int best = i;
    for (int j = i + 1; j < count; j++) if (gain(list[j]) > gain(list[best])) best = j;
    Move m = list[i]; list[i] = list[best]; list[best] = m;
}
static int repeated(void) {
    int seen = 0;
    for (int i = played - 2; i >= 0 && i >= played - fifty; i -= 2) seen += keys[i & 1023] == key;
    return seen >= 1;
}
static int quiesce(int alpha, int beta) {
    Move list[256];
    Undo u;
    nodes++;
    int stand = evaluate();
    if (stand >= beta) return stand;
    if (stand > alpha) alpha = stand;
    int count = generate(list, 1);
    for (int i = 0; i < count; i++) {
        best_first(list, i, count);
        make(list[i], &u);
        int v = in_check(side ^ BLACK) ? -32000 : -quiesce(-beta, -alpha);
        unmake(list[i], &u);
        if (v >= beta) return v;
        if (v > alpha) alpha = v;
    }
    return alpha;
}
static int search(int depth, int ply, int alpha, int beta, Move *chosen) {
    Move list[256];
    Undo u;
    if (ply && (fifty >= 100 || repeated())) return 0;
    int check = in_check(side);
    if (depth <= 0 && !check) return quiesce(alpha, beta);
    nodes++;
    int count = generate(list, 0), legal = 0;
    for (int i = 0; i < count; i++) {
        best_first(list, i, count);
        make(list[i], &u);
        if (!in_check(side ^ BLACK)) {
            int v = -search(depth - 1, ply + 1, -beta, -alpha, 0);
            if (!legal++ && chosen) *chosen = list[i];
            if (v > alpha) { alpha = v; if (chosen) *chosen = list[i]; }
        }
        unmake(list[i], &u);
        if (alpha >= beta) break;
    }
    if (!legal) return check ? -30000 + ply : 0;
    return alpha;
}
static u64 perft(int depth) {
    Move list[256];
    Undo u;
    u64 sum = 0;
    int count = generate(list, 0);
    for (int i = 0; i < count; i++) {
        make(list[i], &u);
        if (!in_check(side ^ BLACK)) sum += depth > 1 ? perft(depth - 1) : 1;
        unmake(list[i], &u);
    }
    return sum;
}

/* --- the game ----------------------------------------------------------------------------------------------- */

static void set_up(void) {
    static const u8 back[8] = {ROOK, KNIGHT, BISHOP, QUEEN, KING, BISHOP, KNIGHT, ROOK};
    for (int s = 0; s < 128; s++) rights_kept[s] = 15;
    rights_kept[0x04] = 12; rights_kept[0x07] = 14; rights_kept[0x00] = 13;
    rights_kept[0x74] = 3; rights_kept[0x77] = 11; rights_kept[0x70] = 7;
    for (int f = 0; f < 8; f++) {
        place(f, back[f]);
        place(0x10 + f, PAWN);
        place(0x60 + f, PAWN | BLACK);
        place(0x70 + f, back[f] | BLACK);
    }
    castling = 15; en_passant = 0x7f;
}
static void square_name(int s) { put('a' + (s & 7)); put('1' + (s >> 4)); }
static void show(void) {
    static const char *const glyph[2][7] = {{0, "♙", "♘", "♗", "♖", "♕", "♔"}, {0, "♟", "♞", "♝", "♜", "♛", "♚"}};
    for (int r = 7; r >= 0; r--) {
        text("  "); put('1' + r); text("  ");
        for (int f = 0; f < 8; f++) {
            int piece = board[r * 16 + f];
            text(piece ? glyph[side_of(piece) >> 3][type_of(piece)] : "·");
            put(' ');
        }
        put('\n');
    }
    text("\n     a b c d e f g h\n");
}
static void play(int plies, int depth) {
    for (int ply = 0; ply < plies; ply++) {
        Move m = {0};
        Undo u;
        int v = search(depth, 0, -32000, 32000, &m);
        if (m.from == m.to) { text(v ? " checkmate" : " draw"); break; }
        if (fifty >= 100 || (ply > 8 && repeated())) { text(" draw"); break; }
        if (ply % 2 == 0) { put(ply ? (ply % 12 ? ' ' : '\n') : ' '); if (ply && ply % 12 == 0) put(' '); number(ply / 2 + 1); put('.'); }
        put(' ');
        int piece = board[m.from];
        if (type_of(piece) != PAWN) put(" .NBRQK"[type_of(piece)]);
        square_name(m.from); put(board[m.to] || m.kind == EN_PASSANT ? 'x' : '-'); square_name(m.to);
        if (m.kind == PROMOTE) { put('='); put(" .NBRQ"[m.promotion]); }
        make(m, &u);
        if (in_check(side)) put('+');
        flush();
    }
    text("\n\n");
    show();
    put('\n'); number(nodes); text(" positions examined\n");
}

static u32 parse(const char *s) {
    u32 n = 0;
    while (*s >= '0' && *s <= '9') n = n * 10 + (*s++ - '0');
    return n;
}

__attribute__((export_name("_start"))) void start(void) {
    static char buffer[4096], *argv[64];
    u32 count = 0, bytes = 0, plies = 24, depth = 4;
    if (args_sizes_get(&count, &bytes) || count > 64 || bytes > sizeof buffer || args_get(argv, buffer)) count = 0;
    set_up();
    if (count > 2 && argv[1][0] == 'p') {
        number(perft(parse(argv[2])));
        put('\n');
    } else {
        if (count > 1) plies = parse(argv[1]);
        if (count > 2) depth = parse(argv[2]);
        play(plies, depth);
    }
    flush();
}
