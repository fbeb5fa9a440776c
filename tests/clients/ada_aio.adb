--  SPDX-License-Identifier: LGPL-2.1-or-later

--  Every call of POSIX.Asynchronous_IO, which Florist makes of aio_read, aio_write, aio_fsync,
--  aio_error, aio_return, aio_suspend, aio_cancel and lio_listio. Writes the file that it is given,
--  each 64-bit number of it its own index, and reads it back; waits for an empty pipe in vain.
--
--  No call masks signals, as all would by default: Florist's way of doing so takes every signal
--  number for one that exists, and fails an assertion of its own where glibc keeps some to itself.

with Ada.Command_Line;
with Ada.Streams;
with Ada.Text_IO;
with Ada.Unchecked_Conversion;
with Interfaces;
with POSIX;
with POSIX.Asynchronous_IO;
with POSIX.IO;
with POSIX.Permissions;
with POSIX.Signals;

procedure Ada_AIO is

   use Ada.Streams, Interfaces, POSIX, POSIX.Asynchronous_IO, POSIX.IO, POSIX.Signals;

   Block : constant := 65_536;
   Count : constant := 64;
   Told  : constant Signal := Realtime_Signal'Last - 3;

   subtype Number_Bytes is Stream_Element_Array (1 .. 8);
   function To_Bytes is new Ada.Unchecked_Conversion (Unsigned_64, Number_Bytes);

   Wrong : exception;

   File    : File_Descriptor;
   Writes  : AIO_Descriptor_List (1 .. Count);
   Reads   : AIO_Descriptor_List (1 .. Count);
   Sync    : AIO_Descriptor;
   Silent  : Signal_Event;
   Telling : Signal_Event;

   procedure Must (What : String; Holds : Boolean) is
   begin
      if not Holds then
         raise Wrong with What;
      end if;
      Ada.Text_IO.Put_Line ("right: " & What);
   end Must;

   --  The numbers of a block, as they stand in the file.
   function Contents (Index : Positive) return IO_Array_Pointer is
      Result : constant IO_Array_Pointer := new Stream_Element_Array (1 .. Block);
      First  : constant Unsigned_64 := Unsigned_64 (Index - 1) * Block / 8;
   begin
      for Place in 0 .. Block / 8 - 1 loop
         Result (Stream_Element_Offset (Place * 8 + 1) .. Stream_Element_Offset (Place * 8 + 8)) :=
           To_Bytes (First + Unsigned_64 (Place));
      end loop;
      return Result;
   end Contents;

   function Control_Block
     (File      : File_Descriptor;
      Operation : List_IO_Operations;
      Index     : Positive;
      Buffer    : IO_Array_Pointer) return AIO_Descriptor
   is
      Result : constant AIO_Descriptor := Create_AIO_Control_Block;
   begin
      Set_File (Result, File);
      Set_Offset (Result, IO_Offset (Index - 1) * Block);
      Set_Buffer (Result, Buffer);
      Set_Length (Result, Block);
      Set_Priority_Reduction (Result, 0);
      Set_Operation (Result, Operation);
      Set_Event (Result, Silent);
      return Result;
   end Control_Block;

   --  All of a list ended well and moved a whole block.
   function All_Done (List : AIO_Descriptor_List) return Boolean is
     (for all AD of List =>
        Get_AIO_Status (AD) = Completed_Successfully and then Get_Bytes_Transferred (AD) = Block);

   function All_Read return Boolean is
     (for all I in Reads'Range => Get_Buffer (Reads (I)).all = Contents (I).all);

   procedure Forget is
   begin
      for AD of Reads loop
         Get_Buffer (AD).all := (others => 0);
      end loop;
   end Forget;

   procedure Write_One_By_One is
   begin
      for AD of Writes loop
         Write (AD);
      end loop;
      for AD of Writes loop
         while Get_AIO_Status (AD) = In_Progress loop
            Await_IO (AD, No_Signals);
         end loop;
      end loop;
      Must ("written by aio_write and aio_suspend", All_Done (Writes));
   end Write_One_By_One;

   procedure Synchronize is
   begin
      Synchronize_File (Sync);
      Await_IO (Sync, No_Signals);
      Must ("synchronized", Get_AIO_Error_Code (Sync) = No_Error and then Get_Bytes_Transferred (Sync) = 0);
      Synchronize_Data (Sync);
      while Get_AIO_Status (Sync) = In_Progress loop
         delay 0.001;
      end loop;
      Must ("data synchronized", Get_AIO_Error_Code (Sync) = No_Error);
   end Synchronize;

   procedure Read_As_List is
   begin
      List_IO_Wait (Reads, No_Signals);
      Must ("read by lio_listio that waits", All_Done (Reads) and then All_Read);
   end Read_As_List;

   --  One signal for the list, once every request in it is done.
   procedure Read_As_List_And_Be_Told is
      Mask, Old : Signal_Set;
      Info      : Signal_Info;
   begin
      Forget;
      Add_Signal (Mask, Told);
      Block_Signals (Mask, Old);
      List_IO_No_Wait (Reads, Telling);
      Info := Await_Signal_Or_Timeout (Mask, To_Timespec (Duration (20.0)));
      Must ("told of the list by a signal", Get_Signal (Info) = Told and then Get_Source (Info) = From_Async_IO);
      Must ("read by lio_listio that signals", All_Done (Reads) and then All_Read);
      Set_Event (Reads (1), Telling);
      Read (Reads (1));
      Info := Await_Signal_Or_Timeout (Mask, To_Timespec (Duration (20.0)));
      Must ("told of a request by a signal", Get_Source (Info) = From_Async_IO);
      Must ("read by aio_read that signals", All_Done (Reads (1 .. 1)));
      Unblock_Signals (Mask, Old);
   end Read_As_List_And_Be_Told;

   --  Nothing comes out of an empty pipe: time passes, and then something does, or it is canceled.
   procedure Wait_In_Vain is
      From, To  : File_Descriptor;
      Buffer    : constant IO_Array_Pointer := new Stream_Element_Array (1 .. Block);
      Request   : AIO_Descriptor;
      Canceling : Cancelation_Status;
      Last      : Stream_Element_Offset;
   begin
      Create_Pipe (From, To);
      Request := Control_Block (From, Read, 1, Buffer);
      Read (Request);
      begin
         Await_IO_Or_Timeout (Request, To_Timespec (Duration (0.05)), No_Signals);
         Must ("time passes", False);
      exception
         when POSIX_Error =>
            Must ("time passes", Get_Error_Code = Resource_Temporarily_Unavailable);
      end;
      Must ("still in progress", Get_AIO_Status (Request) = In_Progress);
      Canceling := Cancel (Request);
      Write (To, Contents (1).all (1 .. 1000), Last, No_Signals);
      while Get_AIO_Status (Request) = In_Progress loop
         Await_IO (Request, No_Signals);
      end loop;
      --  Which of both is a matter of the library; that it is one of them is not.
      case Canceling is
         when Canceled =>
            Must ("canceled", Get_AIO_Status (Request) = Canceled);
         when Not_Canceled =>
            Must ("canceled or read", Get_Bytes_Transferred (Request) = 1000
                  and then Buffer (1 .. 1000) = Contents (1).all (1 .. 1000));
         when All_Done =>
            Must ("canceled or not", False);
      end case;
      Close (From, No_Signals);
      Close (To, No_Signals);
      Destroy_AIO_Control_Block (Request);
   end Wait_In_Vain;

   procedure Fail is
      Request : constant AIO_Descriptor := Control_Block (File, Read, 1, Contents (1));
   begin
      Must ("nothing to cancel", Cancel (File) = All_Done);
      Set_Priority_Reduction (Request, 1_000);
      begin
         Read (Request);
         Must ("a priority out of range is refused", False);
      exception
         when POSIX_Error =>
            Must ("a priority out of range is refused", Get_Error_Code = Invalid_Argument);
      end;
      Close (File, No_Signals);
      Set_Priority_Reduction (Request, 0);
      Read (Request);
      Await_IO (Request, No_Signals);
      Must ("a closed file is found out", Get_AIO_Error_Code (Request) = Bad_File_Descriptor);
   end Fail;

begin
   Set_Notification (Silent, No_Notification);
   Set_Notification (Telling, Signal_Notification);
   Set_Signal (Telling, Told);
   File := Open_Or_Create
     (To_POSIX_String (Ada.Command_Line.Argument (1)), Read_Write,
      POSIX.Permissions.Owner_Permission_Set, Masked_Signals => No_Signals);
   for I in Writes'Range loop
      Writes (I) := Control_Block (File, Write, I, Contents (I));
      Reads (I)  := Control_Block (File, Read, I, new Stream_Element_Array (1 .. Block));
   end loop;
   Sync := Control_Block (File, No_Op, 1, new Stream_Element_Array (1 .. Block));
   Forget;

   Write_One_By_One;
   Synchronize;
   Read_As_List;
   Read_As_List_And_Be_Told;
   Wait_In_Vain;
   Fail;
   Ada.Text_IO.Put_Line ("all right");
end Ada_AIO;
