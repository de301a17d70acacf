// BTF: the types of C, as compilers and the kernel write them. Reading (hostile bytes), walking, looking up.
//
// A Btf owns its bytes and an index of type offsets; a Type is a small view into them. Ids are stable and
// start at 1; 0 is void. Every id, name offset and member count is checked once, in parse(). The kernel's own types,
// opened at every start, are spared that (Check::frame): a reference out of range is void, or no name, when it is met.
// Source: kernel Documentation/bpf/btf.rst.
#pragma once
#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <skep/result.hpp>
#include <skep/types.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace skep::btf {

enum class Kind : u8 {
  void_,
  int_,
  ptr,
  array,
  struct_,
  union_,
  enum_,
  fwd,
  typedef_,
  volatile_,
  const_,
  restrict_,
  func,
  func_proto,
  var,
  datasec,
  float_,
  decl_tag,
  type_tag,
  enum64,
};

/// A member of a struct or union. Offsets and sizes in bits.
struct Member {
  std::string_view name;
  u32 type_id = 0;
  u32 bit_offset = 0;
  u32 bit_size = 0;  ///< 0: not a bit-field
};
struct Enumerator {
  std::string_view name;
  s64 value = 0;
};
struct Param {
  std::string_view name;
  u32 type_id = 0;
};
struct SecVar {
  u32 type_id = 0;  ///< a var (or func, for extern functions)
  u32 offset = 0;
  u32 size = 0;
};

/// One type. A view: valid as long as its Btf.
struct Type {
  u32 id = 0;
  Kind kind = Kind::void_;
  std::string_view name;
  u32 size_or_type = 0;  ///< bytes for int/struct/union/enum/float/datasec, else the id it refers to
  bool kind_flag = false;
  u32 vlen = 0;
  const u8* extra = nullptr;  ///< the kind-specific part

  u32 size() const { return size_or_type; }
  u32 type_id() const { return size_or_type; }
};

/// What is checked before anything is read.
enum class Check : u8 {
  everything,  ///< every reference of every type; an error names the first that is wrong
  frame,       ///< the header, and that each type ends inside the bytes: for what the kernel itself wrote
};

class Btf {
 public:
  /// Takes the bytes of a .BTF section. With `base`, ids continue after base's (split BTF).
  static Result<std::shared_ptr<const Btf>> parse(std::vector<std::byte> bytes,
                                                  std::shared_ptr<const Btf> base = nullptr,
                                                  Check check = Check::everything);
  /// Like parse(). What the kernel serves (/sys/kernel/btf/vmlinux) is mapped, not copied, and taken at its word.
  static Result<std::shared_ptr<const Btf>> from_file(const std::string& path,
                                                      std::shared_ptr<const Btf> base = nullptr);

  u32 type_count() const;   ///< including void and the base's types
  Type type(u32 id) const;  ///< void for an id >= type_count()
  std::string_view string(u32 offset) const;
  std::span<const std::byte> bytes() const;

  /// First type of that kind and name, the base's before our own. A look-up of the kernel's 126,000 types takes some
  /// 10 us, the same name again less than one; after many an index is built. Thread-safe.
  std::optional<u32> find(std::string_view name, Kind kind) const;
  /// The same among our own types, leaving out the base's.
  std::optional<u32> find_own(std::string_view name, Kind kind) const;
  /// All ids whose name is `name` or `name___flavour`, structs, unions, enums, typedefs, ints (for CO-RE).
  std::vector<u32> candidates(std::string_view essential_name) const;

  std::vector<Member> members(const Type& t) const;
  Member member(const Type& t, u32 index) const;
  std::vector<Enumerator> enumerators(const Type& t) const;
  std::vector<Param> params(const Type& t) const;
  std::vector<SecVar> section_vars(const Type& t) const;
  struct Array {
    u32 element_id, index_id, count;
  };
  Array array(const Type& t) const;
  struct IntEncoding {
    bool is_signed, is_char, is_bool;
    u32 bits, bit_offset;
  };
  IntEncoding int_encoding(const Type& t) const;
  /// 0 static, 1 global, 2 extern: of a var or a func.
  u32 linkage(const Type& t) const;
  /// The member or parameter a decl_tag is about, or -1 for the whole type.
  s32 component_index(const Type& t) const;

  /// What this BTF was split from, or null. Its own ids begin at first_id(), its own strings at first_string().
  const std::shared_ptr<const Btf>& base() const;
  u32 first_id() const;
  u32 first_string() const;

  /// Strips typedef, const, volatile, restrict, type_tag.
  u32 resolve(u32 id) const;
  /// Bytes of a value of this type; malformed for incomplete types.
  Result<u64> size_of(u32 id) const;
  /// What a value of this type must be aligned to; 1 for packed structs and incomplete types.
  u32 align_of(u32 id) const;

 private:
  friend class Builder;
  struct Data;
  explicit Btf(std::shared_ptr<Data> d) : data_(std::move(d)) {}
  /// Where a record's alignment is kept; 0: not asked for yet.
  std::atomic<u8>& known_alignment(u32 record) const;
  std::shared_ptr<Data> data_;
};

/// The name without its flavour: "task_struct" of "task_struct___v2" (CO-RE naming convention).
std::string_view essential_name(std::string_view name);

/// bpftool's word for a kind ("STRUCT", "DECL_TAG").
std::string_view name_of(Kind kind);

inline bool is_composite(Kind kind) { return kind == Kind::struct_ || kind == Kind::union_; }
inline bool is_enumeration(Kind kind) { return kind == Kind::enum_ || kind == Kind::enum64; }
/// typedef, const, volatile, restrict, type_tag: what resolve() strips.
inline bool is_modifier(Kind kind) {
  return kind == Kind::typedef_ || kind == Kind::volatile_ || kind == Kind::const_ || kind == Kind::restrict_ ||
         kind == Kind::type_tag;
}

}  // namespace skep::btf
