// Everything loaded on this machine that this user may see, on both engines, and how to name one of it.
//
// bpftool's grammar: `id N`, `name S`, `tag T`, `pinned PATH`. The kernel and every user-engine process are
// one list; an engine that cannot be asked is left out and says why in `notes`.
#pragma once
#include <skep/backend.hpp>
#include <skep/inspect.hpp>
#include <string>
#include <vector>

namespace skep::inspect {

/// A program, map or link together with the inspector that knows it.
template <class Info>
struct Found {
  Info info;
  Inspector* where = nullptr;
};

/// What a command line names: one of bpftool's four ways, or a bare number, which is an id.
struct Handle {
  enum class By { id, name, tag, pinned } by = By::id;
  std::string value;
  u32 id = 0;

  /// Takes its words from `words` starting at `position` ("id", "7", or "7" alone) and moves it past them.
  /// Errors: invalid_argument, saying what may stand there.
  static Result<Handle> parse(const std::vector<std::string>& words, std::size_t& position, std::string_view kind);
  /// Whether a word is one of the ways: "id", "name", "tag", "pinned".
  static bool is_way(std::string_view word) noexcept;
  std::string text() const;

  bool matches(const ProgramInfo& info) const;
  bool matches(const MapInfo& info) const;
  bool matches(const LinkInfo& info) const;
};

/// The inspectors of both engines.
class World {
 public:
  /// Asks the kernel and every user-engine process of this user.
  static World open();

  std::vector<Found<ProgramInfo>> programs();
  std::vector<Found<MapInfo>> maps();
  std::vector<Found<LinkInfo>> links();
  std::vector<Found<BtfInfo>> btfs();

  /// The one that a handle names. Errors: not_found, with what there is and why an engine is missing; invalid_argument
  /// when several match.
  Result<Found<ProgramInfo>> program(const Handle& handle);
  Result<Found<MapInfo>> map(const Handle& handle);
  Result<Found<LinkInfo>> link(const Handle& handle);
  /// All that a handle names. Errors: the same, without the last.
  template <class Info>
  Result<std::vector<Found<Info>>> all(const Handle& handle);
  /// An error of looking in what was listed, with the notes: what it says is not there may be where nobody looked.
  Error explained(Error error) const;

  /// Why an engine is missing from the lists: "the kernel's objects are not shown: ..."
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  template <class Info>
  std::vector<Found<Info>> collect();
  template <class Info>
  Result<Found<Info>> one(const Handle& handle);
  void note(std::string text);

  std::vector<std::unique_ptr<Inspector>> inspectors_;
  std::vector<std::string> notes_;
};

/// All of a list that a handle names. Errors: not_found, with what there is.
template <class Info>
Result<std::vector<Found<Info>>> select(std::vector<Found<Info>> all, const Handle& handle, std::string_view kind);

}  // namespace skep::inspect
